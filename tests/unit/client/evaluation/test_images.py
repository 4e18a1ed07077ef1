"""A model beside an expert, image by image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from client.evaluation.images import evaluate_images
from client.evaluation.statistics import Statistics
from client.evaluation.surfaces import SurfaceDistance
from client.imaging.example import Example, Label
from client.imaging.mammogram import Spacing
from client.imaging.preparation import FULL_SCALE
from client.training.dataset import Batch, FittedDataset
from shared.errors import NonFiniteError
from shared.evaluation.measures import figures
from shared.evaluation.records import EVALUATED
from shared.model import Logits, initial_model
from shared.model.targets import Targets
from shared.plan import MetricName, ModelPlan, Plan, RoundsPlan, TrainingPlan

CPU = torch.device("cpu")
SIDE = 64
PLAN = Plan(
    name="evaluation",
    rounds=RoundsPlan(count=1),
    model=ModelPlan(size="tiny", input_height_px=SIDE, input_width_px=SIDE),
    training=TrainingPlan(batch_size=2),
)


class Reader(nn.Module):
    """Sees fat, dense tissue and pectoral in three grey values, and is as sure as it is told to be."""

    def __init__(self, *, dense_logit: float = 9.0) -> None:
        super().__init__()
        self.dense_logit = dense_logit

    def forward(self, image_NCHW: Tensor) -> Logits:
        grey = image_NCHW[:, 0]
        classes_NHW = (grey > 0.2).long() + (grey > 0.9).long()
        breast = 9.0 * nn.functional.one_hot(classes_NHW, 3).permute(0, 3, 1, 2)
        is_dense = (grey > 0.5) & (grey < 0.9)
        dense = torch.where(is_dense, self.dense_logit, -self.dense_logit)[:, None]
        return {"breast": breast, "dense": dense}


def example(
    name: str,
    *,
    seen_dense: slice = slice(8, 16),
    dense: slice = slice(8, 16),
    spacing: Spacing | None = None,
    height: int = SIDE,
) -> Example:
    """A square breast of 32 x 32 pixels with a band of dense tissue, as it is and as the reader sees it."""

    def labels_of(band: slice) -> npt.NDArray[np.uint8]:
        labels_HW = np.zeros((height, SIDE), np.uint8)
        labels_HW[:32, :32] = Label.ADIPOSE
        labels_HW[band, :32] = Label.DENSE
        return labels_HW

    grey = np.array([0.0, 0.3, 0.7, 1.0])[labels_of(seen_dense)]
    return Example(
        example_id=name,
        image_HW=(grey * FULL_SCALE).astype(np.uint16),
        labels_HW=labels_of(dense),
        spacing=spacing,
    )


def dataset(*examples: Example, plan: Plan = PLAN) -> FittedDataset:
    return FittedDataset(examples, plan.model)


def test_a_band_that_is_seen_half_as_wide_is_measured_by_hand() -> None:
    images = evaluate_images(Reader(), dataset(example("half", seen_dense=slice(8, 12))), PLAN, CPU)

    (image,) = images
    assert image.example_id == "half"
    # Four of eight rows: Dice 2 * 4 / (4 + 8); 4 and 8 of 32 rows are dense.
    assert image.dice_dense == pytest.approx(2 / 3)
    assert image.dice_breast == 1
    assert image.dice_pectoral == 1  # neither sees one
    assert (image.percent_density, image.expert_percent_density) == (12.5, 25)
    assert image.percent_density_error == 12.5
    assert image.outlines is None
    assert image.reliability is None


def test_an_example_with_but_a_category_is_measured_by_its_band_alone() -> None:
    plan = PLAN.model_copy(update={"model": PLAN.model.model_copy(update={"density_band": "readers"})})
    masked, alone = example("masked"), replace(example("alone"), labels_HW=None, density="b")

    of_masked, of_alone = evaluate_images(
        initial_model(plan), dataset(masked, alone), plan, CPU, asked=EVALUATED
    )

    # The pictures are the same.
    assert of_alone.band == of_masked.band
    assert of_alone.percent_density == of_masked.percent_density
    assert of_masked.loss is not None
    assert (of_alone.loss, of_alone.dice_dense, of_alone.dice_breast) == (None, None, None)
    assert (of_alone.expert_percent_density, of_alone.reliability) == (None, None)
    (by_one,) = evaluate_images(initial_model(plan), dataset(alone), plan, CPU)
    assert by_one.band.probabilities == pytest.approx(of_alone.band.probabilities, abs=1e-5)


def test_distances_are_in_mm_where_the_spacing_is_known_and_in_pixels_elsewhere() -> None:
    moved = {"seen_dense": slice(11, 19), "dense": slice(8, 16)}
    known = example("known", spacing=Spacing(row_mm=0.5, column_mm=0.5), **moved)

    in_mm, in_px = evaluate_images(
        Reader(), dataset(known, example("unknown", **moved)), PLAN, CPU, asked=["hausdorff"]
    )

    assert in_mm.outlines is not None
    assert in_px.outlines is not None
    assert (in_mm.outlines.in_mm, in_px.outlines.in_mm) == (True, False)
    assert in_px.outlines.dense == SurfaceDistance(percentile_95=3, maximum=3)
    assert in_mm.outlines.dense == SurfaceDistance(percentile_95=1.5, maximum=1.5)
    assert in_mm.outlines.breast.maximum == 0


def test_a_picture_that_was_shrunk_to_fit_has_larger_pixels() -> None:
    spacing = Spacing(row_mm=0.5, column_mm=0.5)
    tall = example("tall", spacing=spacing, height=2 * SIDE, seen_dense=slice(14, 22), dense=slice(8, 16))

    (image,) = evaluate_images(Reader(), dataset(tall), PLAN, CPU, asked=["hausdorff"])

    # Six rows of the picture are three of the input, which are 1 mm each.
    assert image.outlines is not None
    assert image.outlines.dense.maximum == pytest.approx(3.0)


def test_calibration_is_over_the_pixels_of_the_experts_breast() -> None:
    half_sure = Reader(dense_logit=float(np.log(3)))  # probabilities 3/4 and 1/4

    (image,) = evaluate_images(half_sure, dataset(example("sure")), PLAN, CPU, asked=["calibration"])

    found = image.reliability
    assert found is not None
    assert found.brier == pytest.approx(1 / 16)
    assert found.share_B[[2, 7]] == pytest.approx([0.75, 0.25])
    assert found.frequency_B[[2, 7]] == pytest.approx([0, 0.25])


def test_the_order_is_that_of_the_dataset_and_batches_change_nothing() -> None:
    examples = [example(f"example-{end}", seen_dense=slice(8, end)) for end in range(9, 14)]

    by_two = evaluate_images(Reader(), dataset(*examples), PLAN, CPU, asked=["hausdorff"])
    training = PLAN.training.model_copy(update={"batch_size": 1})
    alone = PLAN.model_copy(update={"training": training})
    by_one = evaluate_images(Reader(), dataset(*examples), alone, CPU, asked=["hausdorff"])

    assert [image.example_id for image in by_two] == [one.example_id for one in examples]
    assert [image.percent_density for image in by_two] == sorted(image.percent_density for image in by_two)
    assert [image.outlines for image in by_two] == [image.outlines for image in by_one]
    assert [image.loss for image in by_two] == pytest.approx([image.loss for image in by_one])


def test_a_missing_segment_is_as_far_away_as_its_own_image_reaches_whatever_it_is_batched_with() -> None:
    wide = PLAN.model_copy(
        update={"model": ModelPlan(size="tiny", input_height_px=SIDE, input_width_px=SIDE, pixel_mm=0.5)}
    )
    spacing = Spacing(row_mm=0.5, column_mm=0.5)
    small = example("small", seen_dense=slice(0), spacing=spacing)
    tall = example("tall", spacing=spacing, height=2 * SIDE)

    image, _ = evaluate_images(Reader(), dataset(small, tall, plan=wide), wide, CPU, asked=["hausdorff"])

    # 64 x 64 pixels of 0.5 mm.
    assert image.outlines is not None
    assert image.outlines.dense.maximum == pytest.approx(32 * np.sqrt(2))


def test_what_no_expert_has_drawn_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Batch.targets

    def without_dense_tissue(batch: Batch) -> Targets:
        targets = whole(batch)
        nothing_NHW = torch.zeros_like(targets.dense_NHW)
        return replace(targets, dense_NHW=nothing_NHW, dense_known_NHW=nothing_NHW)

    monkeypatch.setattr(Batch, "targets", without_dense_tissue)
    asked: list[MetricName] = ["hausdorff", "calibration"]
    images = evaluate_images(Reader(), dataset(example("one"), example("two")), PLAN, CPU, asked=asked)

    for image in images:
        assert (image.dice_dense, image.dice_breast, image.dice_pectoral) == (None, 1, 1)
        assert (image.expert_percent_density, image.percent_density_error) == (None, None)
        assert image.percent_density == 25
        assert image.outlines is not None
        assert (image.outlines.dense, image.outlines.breast is None) == (None, False)
        assert image.reliability is None
    evaluation = Statistics(images=images).evaluation(EVALUATED)
    assert figures(evaluation).keys() == {
        "loss",
        "dice_breast",
        "dice_pectoral",
        *[f"hausdorff{each}_{name}_px" for each in ("", "_95") for name in ("breast", "pectoral")],
    }


def test_a_model_that_has_diverged_is_not_measured() -> None:
    with pytest.raises(NonFiniteError):
        evaluate_images(Reader(dense_logit=float("nan")), dataset(example("any")), PLAN, CPU)
