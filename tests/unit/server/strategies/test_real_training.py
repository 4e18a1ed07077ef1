"""Five sites that really train, and what one hostile site among them does to which strategy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from bench.learning import LearningSite, learn, learning_site, scaled_by
from client.imaging.example import Example, Label
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
