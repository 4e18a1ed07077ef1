"""Noise in a masked sum: as much as is reckoned with, the same in every attempt, and never too little."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from scipy.stats import norm

from shared.chance import chance_of
from shared.errors import AggregationError, MaskingError, PlanError
from shared.fixed_point.grid import Grid
from shared.fixed_point.norm import NormBound
from shared.masking.site_noise import SiteNoise, epsilon_of_a_site
from shared.plan import AggregationPlan, Plan, PrivacyPlan, RoundsPlan, SiteNoisePlan
from tests.unit.masking.masked_sites import MaskedSites

GRID = Grid(bits=16, shapes={"bias": (3,), "kernel": (70_000,)}, exponents={"bias": -12, "kernel": -16})
NOISE = SiteNoisePlan(multiplier=0.8)
BOUND = NormBound(largest=0.5, names=frozenset(GRID.shapes))


def noisy_plan(**changes: object) -> Plan:
    document = {
        "name": "noisy",
        "metrics": (),
        "rounds": RoundsPlan(count=2, quorum=4),
        "aggregation": AggregationPlan(max_update_norm=2.0),
        "privacy": PrivacyPlan(secure_aggregation="on", colluding_sites=1, site_noise=NOISE),
        **changes,
    }
    return Plan.model_validate(document)


def noise_of(plan: Plan | None = None, grid: Grid = GRID) -> SiteNoise:
    noise = SiteNoise.of(plan or noisy_plan(), grid, BOUND)
    assert noise is not None
    return noise


def parts(noise: SiteNoise, name: str, *, num_sites: int) -> np.ndarray:
    """The sum of so many sites' noise in a tensor."""
    total = np.zeros(noise.grid.size(name), np.int64)
    for site in range(num_sites):
        chance = chance_of(site)
        for block in noise.grid.blocks():
            drawn = noise.drawn(block, chance)
            if block.name == name:
                total[block.start : block.stop] += drawn
    return total


def test_the_honest_ones_of_the_quorum_make_the_whole_noise() -> None:
    """By hand: 0.8 of the reach of 0.5 and its rounding, in steps of 2^-16; three honest ones of four."""
    noise = noise_of()
    rounding = math.sqrt(3 * 2.0**-24 + 70_000 * 2.0**-32)

    honest = parts(noise, "kernel", num_sites=3)

    assert noise.reach == pytest.approx(0.5 + rounding)
    assert honest.std() == pytest.approx(0.8 * (0.5 + rounding) * 2**16, rel=0.01)
    assert abs(honest.mean()) < 4 * honest.std() / math.sqrt(honest.size)
    # Of the same length in the units of values, whatever a tensor's step.
    assert noise.variance("kernel") / noise.variance("bias") == pytest.approx(2.0**8)


def test_the_noise_is_drawn_anew_by_its_key_alone() -> None:
    """In a later attempt a site adds the same: two sums of one round tell no more than one."""
    noise, block = noise_of(), next(iter(GRID.blocks()))

    assert (noise.drawn(block, chance_of(5)) == noise.drawn(block, chance_of(5))).all()
    assert (noise.drawn(block, chance_of(5)) != noise.drawn(block, chance_of(6))).any()


def test_a_sum_has_room_for_the_noise_of_all() -> None:
    noise = noise_of()

    furthest = np.abs(parts(noise, "kernel", num_sites=10)).max()

    assert furthest < noise.furthest(10) / 2
    assert 2 ** (noise.ring_bits(10) - 1) > 10 * GRID.largest + noise.furthest(10)
    assert 2 ** (noise.ring_bits(10) - 2) < 10 * GRID.largest + noise.furthest(10)


def test_a_grid_that_is_too_coarse_or_too_fine_is_refused_rather_than_noise_left_out() -> None:
    coarse = Grid(bits=16, shapes={"bias": (1,), "kernel": (1,)}, exponents={"bias": 0, "kernel": 0})
    fine = Grid(bits=16, shapes=GRID.shapes, exponents=dict.fromkeys(GRID.shapes, -40))

    with pytest.raises(AggregationError, match="too coarse"):
        noise_of(grid=coarse)
    with pytest.raises(AggregationError, match="too fine"):
        noise_of(grid=fine).ring_bits(4)


@pytest.mark.parametrize(("multiplier", "rounds"), [(1.0, 1), (4.0, 10), (20.0, 100)])
def test_the_figure_is_that_of_gaussian_noise_and_a_little_more(multiplier: float, rounds: int) -> None:
    """Of a Gaussian mechanism it is known exactly (Balle and Wang, ICML 2018); Skellam comes near it."""
    sigma, delta = multiplier / math.sqrt(rounds), 1e-5

    def excess(epsilon: float) -> float:
        second = math.exp(epsilon) * norm.cdf(-0.5 / sigma - epsilon * sigma)
        return float(norm.cdf(0.5 / sigma - epsilon * sigma) - second)

    found = epsilon_of_a_site(rounds, multiplier=multiplier, delta=delta)

    assert excess(found) < delta < excess(0.75 * found)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aggregation": AggregationPlan()}, "max_update_norm"),
        ({"aggregation": AggregationPlan(max_update_norm=1, bits=8)}, "16-bit"),
        ({"aggregation": AggregationPlan(max_update_norm=1, strategy="scaffold")}, "scaffold"),
        ({"rounds": RoundsPlan(count=1, quorum=2)}, "quorum"),
        ({"metrics": ("loss",)}, "metrics"),
        (
            {"privacy": PrivacyPlan(secure_aggregation="off", site_noise=NOISE)},
            "secure",
        ),
    ],
)
def test_a_plan_whose_noise_would_not_hold_is_refused(changes: dict[str, object], said: str) -> None:
    document = noisy_plan().model_copy(update=changes)

    with pytest.raises(PlanError, match=said):
        Plan.from_toml(document.to_toml())


def test_unlike_terms_a_coordinator_that_tells_sites_different_wholes_reads_no_sum() -> None:
    """A site that is told a larger share would rely on parts that are too small: its mask does not cancel."""
    sites = MaskedSites(num_sites=4)
    sites.told["site-02"] = "another grid or whole"
    roster = sites.key()
    sites.share(roster, sites.parties)
    updates = sites.updates(1)
    total, asked = sites.mask(updates, sites.parties)
    unmask = sites.sign(asked, sites.parties)
    sites.reveal(unmask, sites.parties)

    with contextlib.suppress(AggregationError):  # in a tight ring, noise looks like a sum
        sites.round_.unmask(total)

    read = total.of("kernel")
    for site in (None, *sites.parties):
        others = sum(update.astype(np.int64) for name, update in updates.items() if name != site)
        assert np.count_nonzero(read == others) < 3  # of fifty


def test_too_few_survivors_a_site_signs_for_no_sum_with_less_noise_than_is_reckoned_with() -> None:
    sites = MaskedSites(num_sites=5)
    for party in sites.parties.values():
        party.least_survivors = 4
    roster = sites.key()
    sites.share(roster, sites.parties)
    _, asked = sites.mask(sites.updates(1), list(sites.parties)[:3])

    with pytest.raises(MaskingError, match="noise"):
        sites.parties["site-00"].sign(asked)
