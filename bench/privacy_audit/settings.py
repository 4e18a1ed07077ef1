"""The ladder of protections that attacks are tried against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PLAIN = 1
"""A sum over one site is its update."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Setting:
    """How well a hospital's update is protected.

    Attributes
    ----------
    num_sites
        Over how many hospitals the coordinator sees a sum; `PLAIN` is without secure aggregation.
    noise_multiplier
        As `privacy.site_noise.multiplier` of a plan: standard deviation of the noise in the sum, over what
        one site can move it by; 0 is neither noise nor clipping.
    """

    num_sites: int
    noise_multiplier: float = 0.0

    @property
    def words(self) -> str:
        """For a person."""
        seen = "single update" if self.num_sites == PLAIN else f"sum of {self.num_sites} hospitals"
        return f"{seen}, noise {self.noise_multiplier:g}" if self.noise_multiplier else seen


def ladder(cohorts: Sequence[int], noise_multipliers: Sequence[float]) -> list[Setting]:
    """A single update, sums over each number of hospitals, and these with each amount of noise."""
    return [
        Setting(num_sites=PLAIN),
        *(
            Setting(num_sites=num_sites, noise_multiplier=noise)
            for num_sites in cohorts
            for noise in (0.0, *noise_multipliers)
        ),
    ]
