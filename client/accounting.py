"""What of its patients' privacy a site has spent: epsilon for a delta, over all that noise has covered.

A step is a sampled Gaussian mechanism: patients are drawn one by one with a known chance, and noise of
`multiplier` times the bound of one patient's part is added to the sum. Two sets of patients are neighbours if
one has one patient more. Steps of all rounds and runs are composed as privacy loss distributions (Koskela,
Jaelkoe, Honkela, AISTATS 2020; Google's dp-accounting), which is tight; the number of patients counts as
known.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from client.training.step_counts import chance_of_a_patient, num_steps_per_round
from shared.plan import PatientNoisePlan, Plan

TIGHT_UP_TO = 40.0
"""Beyond that an epsilon promises nothing, and its distribution would take gigabytes of memory."""

ROUGH_ORDERS = tuple(range(2, 257))


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Equal steps under noise.

    Attributes
    ----------
    chance
        With which each patient is drawn for a step.
    multiplier
        Standard deviation of the noise over the bound of one patient's part.
    """

    chance: float
    multiplier: float
    count: int


def steps_of_a_round(plan: Plan, noise: PatientNoisePlan, num_patients: int) -> Steps:
    """What one round of a plan takes at a site with so many patients in its training part."""
    return Steps(
        chance=chance_of_a_patient(plan.training, num_patients),
        multiplier=noise.multiplier,
        count=num_steps_per_round(plan.training, num_patients),
    )


def epsilon(taken: Iterable[Steps], delta: float) -> float:
    """The epsilon of all these steps together; 0 for none, infinite where the accountant finds no bound.

    Above `TIGHT_UP_TO` it is a bound by Renyi divergences (Mironov, Talwar, Zhang 2019), quick whatever a
    plan asks for: it is reckoned before anybody has approved of the plan.

    Parameters
    ----------
    taken
        In any order.
    delta
        With which probability more may be told.
    """
    counts: Counter[tuple[float, float]] = Counter()
    for steps in taken:
        counts[steps.chance, steps.multiplier] += steps.count
    return _epsilon(tuple(sorted(counts.items())), delta)


def rounded_up(value: float) -> float:
    """An epsilon to two decimals, never less than it is."""
    return value if math.isinf(value) else math.ceil(round(100 * value, 6)) / 100


@lru_cache(maxsize=256)
def _epsilon(counts: tuple[tuple[tuple[float, float], int], ...], delta: float) -> float:
    if not any(count for _, count in counts):
        return 0.0
    # Not at the head: only sites under noise wait the second that these take.
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    rough, tight = RdpAccountant(ROUGH_ORDERS), PLDAccountant()
    for accountant in (rough, tight):
        for (chance, multiplier), count in counts:
            accountant.compose(PoissonSampledDpEvent(chance, GaussianDpEvent(multiplier)), count)
        bound = float(accountant.get_epsilon(delta))
        if bound > TIGHT_UP_TO:
            break
    return bound
