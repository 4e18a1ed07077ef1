"""The noise that sites add to their masked updates, so that nobody ever sees a sum without it.

Each site adds Skellam noise to its integers, the difference of two Poisson numbers, before they are masked
(Agarwal, Kairouz, Liu: The Skellam mechanism for differentially private federated learning, NeurIPS 2021).
Sums of Skellam noise are Skellam noise, so that the parts of the honest survivors come to just what is
reckoned with: those of the plan's quorum, without the sites that may collude. More survivors are more noise.
Each site signs for no fewer.

By how much one site can move the sum is what its bound on the norm lets through, rounding included
(`shared.fixed_point.norm`). The noise has the same standard deviation in every value of the model, so that
in a tensor of step s it is that over s in integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from shared.errors import AggregationError
from shared.fixed_point.grid import Block, Grid
from shared.fixed_point.norm import NormBound
from shared.plan import Plan

LEAST_VARIANCE = 1e4
"""Of all honest parts together, in integers: the accountant takes no less, and its figure is within 1.001."""

TAIL = 12.0
"""Standard deviations that no noise goes beyond: a chance below 1e-32 for each value."""

MOST_RING_BITS = 32
ORDERS = (*(1 + tenths / 10 for tenths in range(1, 100)), *range(11, 64), 128, 256, 512, 1024)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteNoise:
    """The part of one site in a round.

    Attributes
    ----------
    reach
        By how much one site can move the sum: the L2 norm, in the units of values.
    multiplier
        Standard deviation of all honest parts together over that.
    num_honest
        Parts that are reckoned with.
    """

    grid: Grid
    reach: float
    multiplier: float
    num_honest: int

    @classmethod
    def of(cls, plan: Plan, grid: Grid, bound: NormBound | None) -> SiteNoise | None:
        """The noise of a plan for updates within a bound; None if it has none.

        Raises
        ------
        AggregationError
            The grid is too coarse for the noise to be reckoned with.
        """
        asked = plan.privacy.site_noise
        if asked is None:
            return None
        assert bound is not None  # a plan with such noise has one
        noise = cls(
            grid=grid,
            reach=bound.reach(grid),
            multiplier=asked.multiplier,
            num_honest=plan.rounds.quorum - plan.privacy.colluding_sites,
        )
        if noise.num_honest * min(map(noise.variance, grid.shapes)) < LEAST_VARIANCE:
            raise AggregationError(
                "The grid of a round is too coarse for the plan's noise.",
                "Raise `privacy.site_noise.multiplier` or `aggregation.max_update_norm`.",
            )
        return noise

    def variance(self, name: str) -> float:
        """Of one site's part in a tensor, in integers."""
        return float((self.multiplier * self.reach / self.grid.step(name)) ** 2 / self.num_honest)

    def drawn(self, block: Block, chance: Generator) -> NDArray[np.int64]:
        """One site's part in a block."""
        rate = self.variance(block.name) / 2
        return chance.poisson(rate, block.size) - chance.poisson(rate, block.size)

    def furthest(self, num_sites: int) -> int:
        """What the parts of so many sites together never go beyond, in integers."""
        return math.ceil(TAIL * math.sqrt(num_sites * max(map(self.variance, self.grid.shapes))))

    def ring_bits(self, num_sites: int) -> int:
        """The least k with which a masked sum of so many sites can be read modulo 2**k.

        Raises
        ------
        AggregationError
            The grid is too fine for a sum of 32 bits to hold the noise.
        """
        bits = (num_sites * self.grid.largest + self.furthest(num_sites)).bit_length() + 1
        if bits > MOST_RING_BITS:
            raise AggregationError(
                "The grid of a round is too fine for a sum to hold the plan's noise.",
                "Lower `privacy.site_noise.multiplier` or `aggregation.max_update_norm`.",
            )
        return bits


def epsilon_of_a_site(num_rounds: int, *, multiplier: float, delta: float) -> float:
    """Epsilon after so many rounds, with one site more or less as neighbours.

    Renyi divergence of order a of one round (Agarwal et al., theorem 3.5, summed over values, with
    |x| <= x^2 for integers): a / 2m^2 + (2a + 5) / 4m^2 v, for a variance of v in integers; then to epsilon
    by Google's `dp-accounting` (Canonne, Kamath, Steinke, NeurIPS 2020).

    Parameters
    ----------
    multiplier
        Of the noise: m.
    """
    # Not at the head: only those who reckon wait the second that it takes.
    from dp_accounting.rdp import compute_epsilon

    divergences = [
        num_rounds * (order / (2 * multiplier**2) + (2 * order + 5) / (4 * multiplier**2 * LEAST_VARIANCE))
        for order in ORDERS
    ]
    return float(compute_epsilon(ORDERS, divergences, delta)[0])
