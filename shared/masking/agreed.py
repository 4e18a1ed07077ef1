"""How many sites it takes to read a sum, and what that promises: the same function at both sides.

Of n sites, c may collude with the coordinator, who may send any message. At least t of them sign which
sites survive before anybody says what unmasks, with 2t > n + c, so that no two sets of survivors have
signatures enough: any two sets of t signers have more than c sites in common, and an honest one signs once.
So nobody gets a site's own stream and its agreed ones. And t >= c + 2, so that at least two honest sites
are in every sum.

With many sites each agrees on keys with k others alone (Bell et al., CCS 2020), and its secrets are shared
among these and itself. The others are its neighbours on a circle, on which sites lie in an order that
follows from all keys. Such a graph stays connected whichever k - 1 sites are taken out of it (Harary 1962),
so that the promise needs no luck: the sum is of all honest survivors as long as those who left, once more
those whom a site may have been told to have left, and those who collude are fewer than k. Bell et al. draw
the graph and are content with fewer neighbours, with high probability.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import PlanError

LEAST_SITES = 3
"""The sum of two is to each of them the other's update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What follows for one attempt from how many sites it asks.

    Attributes
    ----------
    colluding
        Sites that may collude with the coordinator.
    neighbours
        With how many others each site agrees on keys, an even number; None for all.

    Raises
    ------
    PlanError
        So many sites cannot keep the promise.
    """

    num_sites: int
    colluding: int = 0
    neighbours: int | None = None

    def __post_init__(self) -> None:
        least = max(LEAST_SITES, self.colluding + 2)
        if self.num_sites < least:
            raise PlanError(
                f"Secure aggregation with {self.colluding} colluding sites needs at least {least} sites.",
                "Ask more sites, or lower `privacy.colluding_sites` in the plan.",
            )
        if not self.is_complete and self.share_threshold > self.degree:
            raise PlanError(
                f"{self.degree} neighbours of each site are too few for {self.colluding} colluding sites.",
                "Raise `privacy.neighbours` in the plan, or leave it out.",
            )

    @property
    def threshold(self) -> int:
        """t: sites that must sign the survivors, the fewest that keep the promise."""
        return _threshold(self.num_sites, self.colluding)

    @property
    def degree(self) -> int:
        """k: with how many others a site agrees on keys."""
        others = self.num_sites - 1
        return others if self.neighbours is None else min(self.neighbours, others)

    @property
    def is_complete(self) -> bool:
        """Whether each site agrees on a key with every other."""
        return self.degree == self.num_sites - 1

    @property
    def share_threshold(self) -> int:
        """Shares that a secret is read from, of the k + 1 that there are: t where all agree with all."""
        return _threshold(self.degree + 1, self.colluding)

    @property
    def dropouts(self) -> int:
        """Sites that may leave, at any time, and the sum of the others can still be read."""
        if self.is_complete:
            return self.num_sites - self.threshold
        spare = (self.degree - 1 - self.colluding) // 2
        return min(self.num_sites - self.threshold, self.degree + 1 - self.share_threshold, spare)


def _threshold(num_sites: int, colluding: int) -> int:
    return max((num_sites + colluding) // 2 + 1, colluding + 2)


def neighbours_of(site_ids: Sequence[str], agreed: Agreed, *, salt: bytes) -> dict[str, tuple[str, ...]]:
    """With whom each site agrees on keys: the k nearest on a circle; by site id, in sorted order.

    Parameters
    ----------
    salt
        Bytes of all sites' keys: the order on the circle follows from it, and nobody chose it alone.
    """
    circle = sorted(site_ids, key=lambda site_id: hashlib.sha256(salt + site_id.encode()).digest())
    if agreed.is_complete:
        return {site: tuple(sorted(set(circle) - {site})) for site in sorted(circle)}
    reach = [step for far in range(1, agreed.degree // 2 + 1) for step in (far, -far)]
    around = {
        site: tuple(sorted(circle[(place + step) % len(circle)] for step in reach))
        for place, site in enumerate(circle)
    }
    return dict(sorted(around.items()))
