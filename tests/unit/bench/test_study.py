"""A study splits by patient, goes on where it was interrupted, and tells what its images say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.learning import PatientExample
from bench.study.arms import Arm, arms_of, run_arm
from bench.study.figures import ArmResults, density_bias, density_correlation, density_error, mean_of
from bench.study.folds import folds_of
from bench.study.report import Study, page
from bench.study.results import ImageResult, Result, Results
from client.imaging.example import Example, Label
from shared.plan import ModelPlan, Plan, RoundsPlan, TrainingPlan

PLAN = Plan(
    name="small",
    rounds=RoundsPlan(count=2, quorum=2),
    model=ModelPlan(size="tiny", input_height_px=64, input_width_px=64),
    training=TrainingPlan(local_epochs=1, batch_size=2),
)


def example(name: str, seed: int = 0) -> Example:
    random = np.random.default_rng(seed)
    labels_HW = np.full((64, 64), Label.ADIPOSE, np.uint8)
    labels_HW[20:40, 10:40] = Label.DENSE
    image_HW = (labels_HW.astype(np.uint16) * 20_000) + random.integers(0, 5000, (64, 64), np.uint16)
    return Example(example_id=name, image_HW=image_HW, labels_HW=labels_HW)


def hospital(name: str, *, patients: int, images: int = 1) -> list[PatientExample]:
    return [
        PatientExample(patient=f"patient-{patient}", example=example(f"{name}-{patient}-{image}"))
        for patient in range(patients)
        for image in range(images)
    ]


def image(dice: float, measured: float, expert: float) -> ImageResult:
    return ImageResult(
        image="one",
        dice_dense=dice,
        dice_breast=0.9,
        dice_pectoral=0.8,
        percent_density=measured,
        expert_percent_density=expert,
    )


def result(arm: str, images: dict[str, list[ImageResult]], fold: int = 1) -> Result:
    return Result(arm=arm, fold=fold, plan_sha256=PLAN.sha256, num_steps=4, seconds=1.0, images=images)


def test_every_image_is_tested_once_and_no_patient_is_trained_and_tested_on() -> None:
    hospitals = {"north": hospital("n", patients=7, images=2), "south": hospital("s", patients=4)}

    folds = folds_of(hospitals, num_folds=5, seed=1)

    tested = [one.example_id for fold in folds for of_site in fold.test.values() for one in of_site]
    assert sorted(tested) == sorted(
        one.example.example_id for of_site in hospitals.values() for one in of_site
    )
    for fold in folds:
        for name in hospitals:
            patients = {
                part: {one.example_id.rpartition("-")[0] for one in getattr(fold, part)[name]}
                for part in ("train", "test")
            }
            assert not patients["train"] & patients["test"]
    # Eleven patients over five folds: one has three, the others two.
    sizes = [
        len({one.example_id.rpartition("-")[0] for them in fold.test.values() for one in them})
        for fold in folds
    ]
    assert sorted(sizes) == [2, 2, 2, 2, 3]


def test_a_federation_and_a_pooled_model_take_as_many_steps() -> None:
    hospitals = {"north": hospital("n", patients=5), "south": hospital("s", patients=5)}
    fold = folds_of(hospitals, num_folds=5, seed=1)[0]
    by_name = {arm.name: arm for arm in arms_of(["north", "south"], ["fedavg", "fedbn"])}

    # Four training images at each of two hospitals, in batches of two, over two rounds: eight steps.
    for name in ("pooled", "fedavg", "fedbn", "local south"):
        seen: list[tuple[int, int]] = []
        found = run_arm(by_name[name], fold, PLAN, lambda *step, seen=seen: seen.append(step))
        assert found.num_steps == 8
        assert seen[-1][0] == 8
        assert {site: len(images) for site, images in found.images.items()} == {"north": 1, "south": 1}


def test_an_arm_trains_to_the_same_figures_again() -> None:
    hospitals = {"north": hospital("n", patients=3), "south": hospital("s", patients=3)}
    fold = folds_of(hospitals, num_folds=3, seed=1)[0]
    arm = Arm(name="fedavg", strategy="fedavg", sites=("north", "south"))

    first, second = (run_arm(arm, fold, PLAN, lambda _taken, _total: None) for _ in range(2))

    assert first.images == second.images


def test_what_was_kept_under_another_plan_is_done_anew(tmp_path: Path) -> None:
    results = Results(tmp_path)
    kept = result("local north", {"north": [image(0.5, 10, 12)]})
    results.keep(kept)

    assert results.find("local north", 1, PLAN.sha256) == kept
    assert results.find("local north", 2, PLAN.sha256) is None
    assert results.find("local north", 1, "0" * 64) is None
    assert results.under(PLAN.sha256) == [kept]
    assert results.under("0" * 64) == []


def test_figures_are_those_worked_out_by_hand() -> None:
    tested = ArmResults(
        [
            result("fedavg", {"north": [image(0.4, 10, 12), image(0.6, 20, 16)]}, fold=1),
            result("fedavg", {"south": [image(0.8, 30, 33)]}, fold=2),
        ]
    )

    assert tested.num_images == {"north": 2, "south": 1}
    assert tested.figure(mean_of("dice_dense")).value == pytest.approx(0.6)
    assert tested.figure(mean_of("dice_dense"), "north").value == pytest.approx(0.5)
    assert tested.figure(density_error).value == pytest.approx((2 + 4 + 3) / 3)
    assert tested.figure(density_bias).value == pytest.approx((-2 + 4 - 3) / 3)
    # Deviations -10, 0, 10 and -25/3, -13/3, 38/3: 630/3 over the root of 200 times 2238/9.
    assert tested.figure(density_correlation).value == pytest.approx(210 / (200 * 2238 / 9) ** 0.5)


def test_an_interval_holds_its_figure_and_resamples_each_hospital_by_itself() -> None:
    south = [image(0.8, 30, 33)] * 4
    tested = ArmResults([result("fedavg", {"north": [image(0.2, 1, 1), image(0.6, 2, 2)], "south": south})])

    found = tested.figure(mean_of("dice_dense"))

    # The south's four images are always there: means lie between (2 x 0.2 + 3.2) / 6 and (2 x 0.6 + 3.2) / 6.
    assert found.low == pytest.approx(0.6)
    assert found.high == pytest.approx(4.4 / 6)
    assert found.low < found.value < found.high


def test_the_page_compares_what_is_whole_and_leaves_out_an_arm_that_lacks_a_fold() -> None:
    def arm(name: str, dice: float) -> list[Result]:
        images = {"north": [image(dice, 10, 12), image(dice, 20, 16)], "south": [image(dice, 30, 33)]}
        return [result(name, images, fold) for fold in (1, 2)]

    results = [
        *arm("fedavg", 0.72),
        *arm("local north", 0.6),
        *arm("local south", 0.5),
        *arm("pooled", 0.75),
        replace(arm("fedbn", 0.7)[0], fold=1),
    ]
    written = page(Study.of(results, PLAN, num_folds=2), "small.png")

    assert "fedbn" not in written
    assert "| fedavg | 0.960 | north +0.120, south +0.220 | north +0.220, south +0.120 |" in written
