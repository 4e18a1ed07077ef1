"""How much each site counts: weights from counts of examples, frozen when a run starts.

A site weighs as much as it has examples, and at least a tenth of the largest: the model must serve small
hospitals too. A site that comes later weighs at most as much as the largest of those with whom the run began:
no newcomer outweighs them all, and the grid of the round that it comes into was made for a share as large as
its own. Weights are whole numbers, ten times the examples, so that shares are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

LARGEST_TO_SMALLEST = 10


def first_of_a_quorum(batches: Sequence[Mapping[str, int]], *, quorum: int) -> list[Mapping[str, int]]:
    """The same counts, in batches of which the first is a quorum; empty while fewer sites were counted.

    Weights are frozen on a quorum: against the count of one site alone, the others' shares could be anything.
    """
    first: dict[str, int] = {}
    for number, batch in enumerate(batches, start=1):
        first.update(batch)
        if len(first) >= quorum:
            return [first, *batches[number:]]
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteWeights:
    """Weights by site id.

    Attributes
    ----------
    total
        Sum of the weights with which the run began. A site that comes later adds its weight, not to this: the
        shares of the others stay what they are.
    """

    weights: Mapping[str, int]
    total: int

    @classmethod
    def of_counts(cls, counts: Mapping[str, int]) -> SiteWeights:
        """Weights at the start of a run, from numbers of training examples."""
        largest = max(counts.values())
        weights = {site: max(LARGEST_TO_SMALLEST * counts[site], largest) for site in sorted(counts)}
        return cls(weights=weights, total=sum(weights.values()))

    def alike(self, *, num_first: int) -> SiteWeights:
        """One weight for each of the same sites, of which so many began the run."""
        return SiteWeights(weights=dict.fromkeys(self.weights, 1), total=num_first)

    @classmethod
    def of_batches(cls, batches: Sequence[Mapping[str, int]]) -> SiteWeights:
        """Weights of a run so far: the first counts freeze the total, sites that came later add theirs."""
        weights = cls.of_counts(batches[0])
        later = {site: count for batch in batches[1:] for site, count in batch.items()}
        most = max(batches[0].values())
        added = {
            site: max(LARGEST_TO_SMALLEST * min(count, most), most) for site, count in sorted(later.items())
        }
        return cls(weights={**added, **weights.weights}, total=weights.total)

    def share(self, site: str) -> float:
        """By what a site scales its update before it is rounded."""
        return self.weights[site] / self.total

    def answered(self, sites: Collection[str]) -> float:
        """The sum of some sites' shares."""
        return sum(self.weights[site] for site in sites) / self.total

    @property
    def largest_share(self) -> float:
        """The share of the site that counts most."""
        return max(self.weights.values()) / self.total
