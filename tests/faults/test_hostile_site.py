"""One of five sites that really train flips its labels or scales its updates, under each strategy."""

from __future__ import annotations

import pytest

from bench.hostile import HONEST, cases_of, dense_dice, hostile_plan, spread
from bench.learning import LearningSite, read_hospitals
from shared.plan import StrategyName

SCALE = 1000.0
PLAN = hostile_plan(num_rounds=10, height_px=128)
MAX_LOSS = 0.03
SEEDS = (0,)


@pytest.fixture(scope="module")
def cases() -> dict[str, list[LearningSite]]:
    """Phantoms of three vendors at five sites: all honest, and one hostile."""
    hospitals = read_hospitals(None)
    examples = {name: [one.example for one in of_site] for name, of_site in hospitals.items()}
    return cases_of(spread(examples), PLAN, scales=(SCALE,))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["trimmed_mean", "median", "multi_krum"])
def test_a_robust_strategy_holds_the_dense_dice_with_one_of_five_sites_hostile(
    cases: dict[str, list[LearningSite]], strategy: StrategyName
) -> None:
    dice = {name: dense_dice(sites, PLAN, strategy, SEEDS)[0] for name, sites in cases.items()}

    assert min(dice.values()) > dice[HONEST] - MAX_LOSS, dice


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_mean_is_ruined_by_one_of_five_sites_that_scales_its_updates(
    cases: dict[str, list[LearningSite]],
) -> None:
    honest, scaled = (
        dense_dice(sites, PLAN, "fedavg", SEEDS)[0]
        for name, sites in cases.items()
        if name in {HONEST, f"update x {SCALE:.0f}"}
    )

    assert scaled < honest - MAX_LOSS
