"""Sites that really train: what a hostile one among them does, and what each kind of labels teaches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.learning import CPU, LearningSite, Outcome, learn, learning_site, scaled_by
from client.evaluation.images import evaluate_images
from client.evaluation.statistics import Statistics
from client.imaging.example import Example, Label
from client.training.dataset import FittedDataset
from shared.bands import BANDS
from shared.evaluation.measures import figures
from shared.evaluation.pooling import pool
from shared.evaluation.records import Evaluation
from shared.model import Weights, model_around
from shared.model.networks import ARCHITECTURES, Architecture
from shared.plan import AggregationPlan, ModelPlan, Plan, RoundsPlan, TrainingPlan

PLAN = Plan(
    name="hostile",
    rounds=RoundsPlan(count=6, quorum=5),
    model=ModelPlan(size="tiny", input_height_px=64, input_width_px=64),
    training=TrainingPlan(local_epochs=8, batch_size=4, learning_rate=1e-2, augment=False),
)


@pytest.fixture
def small_network() -> Iterator[None]:
    """The real network, small enough to learn within seconds."""
    small = Architecture(stem_stride=2, channels=(8, 16), encoder_depth=1, decoder_depth=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "tiny", small)
        yield


def example(seed: int) -> Example:
    """A half-disc of breast with a bright dense patch of random place and size."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1:1:64j, 0:1:64j]
    labels_HW = np.where(rows**2 + columns**2 < 0.8, Label.ADIPOSE, Label.BACKGROUND).astype(np.uint8)
    centre_row, centre_column = random.uniform(-0.2, 0.4), random.uniform(0.3, 0.5)
    dense_HW = (rows - centre_row) ** 2 + (columns - centre_column) ** 2 < random.uniform(0.03, 0.08)
    labels_HW[dense_HW & (labels_HW == Label.ADIPOSE)] = Label.DENSE
    image_HW = (np.array([0.0, 0.25, 0.7])[labels_HW] * 65535).astype(np.uint16)
    return Example(example_id=f"example-{seed}", image_HW=image_HW, labels_HW=labels_HW)


@pytest.fixture(scope="module")
def sites() -> list[LearningSite]:
    return [
        learning_site(f"site-{place}", [example(100 * place + number) for number in range(6)], PLAN)
        for place in range(5)
    ]


def dice(name: str, sites: Sequence[LearningSite]) -> float:
    plan = PLAN.model_copy(update={"aggregation": AggregationPlan(strategy=name)})
    return learn(plan, sites, bits=16).mean_dice_dense


@pytest.mark.slow
@pytest.mark.usefixtures("small_network")
def test_an_update_a_thousand_times_too_large_ruins_the_mean_and_no_robust_strategy(
    sites: list[LearningSite],
) -> None:
    hostile = [replace(sites[0], deed=scaled_by(1000.0)), *sites[1:]]
    clean = dice("fedavg", sites)

    assert clean > 0.6
    assert dice("fedavg", hostile) < clean - 0.03
    for name in ("trimmed_mean", "median", "multi_krum"):
        assert dice(name, hostile) > clean - 0.03


# -- sites with categories, with masks, with both

BAND_PLAN = PLAN.model_copy(
    update={
        "rounds": RoundsPlan(count=6, quorum=2),
        "model": PLAN.model.model_copy(update={"density_band": "simulated"}),
    }
)
READERS_ENDS_PERCENT = (10.0, 13.0, 16.0)
"""Where these readers see the bands b, c and d begin; a head that nobody has taught calls nearly all b."""


def categorised(seed: int) -> Example:
    """An example with the category that these readers give."""
    made = example(seed)
    assert made.labels_HW is not None
    pixels = np.bincount(made.labels_HW.ravel(), minlength=len(Label))
    percent = 100 * pixels[Label.DENSE] / (pixels[Label.DENSE] + pixels[Label.ADIPOSE])
    return replace(made, density=BANDS[sum(percent >= end for end in READERS_ENDS_PERCENT)])


def site_of(name: str, first: int, *, masks: bool, categories: bool) -> LearningSite:
    """Twelve examples to train on with the labels that the site has, and eight with all to test on."""
    made = [categorised(first + number) for number in range(20)]
    there = [
        replace(one, labels_HW=one.labels_HW if masks else None, density=one.density if categories else None)
        for one in made[:12]
    ]
    return LearningSite(
        name=name,
        train=FittedDataset(there, BAND_PLAN.model),
        test=FittedDataset(made[12:], BAND_PLAN.model),
    )


def of_bands(weights: Weights, sites: Sequence[LearningSite]) -> Evaluation:
    """What all sites together are told of the bands of some weights."""
    parts = []
    for site in sites:
        model = model_around({name: tensor.clone() for name, tensor in weights.items()}, BAND_PLAN.model)
        images = evaluate_images(model, site.test, BAND_PLAN, CPU)
        categories = [BANDS[band] for band in site.test.batch(range(len(site.test))).band_N.tolist()]
        parts.append(Statistics(images=images, categories=categories).evaluation(["density_categories"]))
    pooled = pool(parts)
    assert pooled is not None
    return pooled


@pytest.fixture
def mixed(small_network: None) -> list[LearningSite]:
    return [
        site_of("both", 1000, masks=True, categories=True),
        site_of("masks", 2000, masks=True, categories=False),
        site_of("categories", 3000, masks=False, categories=True),
    ]


def test_sites_with_categories_with_masks_and_with_both_teach_one_model_bands_and_segments(
    mixed: list[LearningSite],
) -> None:
    outcome: Outcome = learn(BAND_PLAN, mixed, bits=16)

    assert outcome.mean_dice_dense > 0.6
    taught = outcome.weights[-1]
    untaught = {
        name: torch.zeros_like(tensor) if name.startswith("band_head.") else tensor
        for name, tensor in taught.items()
    }
    after, before = figures(of_bands(taught, mixed)), figures(of_bands(untaught, mixed))
    assert after["band_ranked_probability"].value < 0.6 * before["band_ranked_probability"].value
    assert after["category_kappa"].value > before["category_kappa"].value + 0.2
    assert abs(after["band_bias"].value) < abs(before["band_bias"].value)


def test_without_any_category_the_head_stays_as_it_began_and_without_any_mask_the_segments_do(
    mixed: list[LearningSite],
) -> None:
    _, masks, categories = mixed
    one_round = BAND_PLAN.model_copy(update={"rounds": RoundsPlan(count=1)})
    by_masks = learn(one_round, [masks, replace(masks, name="other")], bits=None).weights
    by_categories = learn(one_round, [categories, replace(categories, name="other")], bits=None).weights

    for name, first in by_masks[0].items():
        # What no gradient moves is moved by weight decay alone, which leaves zeros.
        learnt = by_masks if name.startswith("band_head.") else by_categories
        if not name.startswith("log_variances"):
            torch.testing.assert_close(learnt[-1][name], first, rtol=0.05, atol=1e-7)
    assert all(not by_masks[-1][name].any() for name in by_masks[0] if name.startswith("band_head."))
    assert all(by_categories[-1][name].any() for name in by_masks[0] if name.startswith("band_head."))
