"""Multi-Krum: the mean of the updates that lie nearest to most others.

Blanchard et al., Machine learning with adversaries: Byzantine tolerant gradient descent, NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from server.strategies.strategy import Array, ReadUpdate, RobustStrategy, stacked
from shared.fixed_point.grid import Grid

SLICE_VALUES = 2048
"""Values of each update that are multiplied at once."""


@dataclass(frozen=True, slots=True)
class MultiKrum(RobustStrategy):
    """The n - h updates of least score, with h the plan's `hostile_sites`.

    An update's score is the sum of its squared distances to its n - h - 2 nearest. Updates of the same score
    are taken in the order in which they are given.
    """

    def mean_blocks(self, grid: Grid, updates: Sequence[ReadUpdate]) -> Iterator[Array]:
        """Two readings of the updates: one to choose, one for the mean of the chosen."""
        chosen = self.choose(grid, updates)
        for block_SN in stacked([updates[place] for place in chosen]):
            yield block_SN.sum(axis=0, dtype=np.int64) / len(chosen)

    def choose(self, grid: Grid, updates: Sequence[ReadUpdate]) -> list[int]:
        """Places of the updates that are taken, in ascending order."""
        distances_SS = squared_distances(grid, updates)
        num_nearest = len(updates) - self.plan.hostile_sites - 2
        # The nearest of all is the update itself, at distance 0.
        scores = [sum(sorted(distances_S)[1 : 1 + num_nearest]) for distances_S in distances_SS]
        order = sorted(range(len(updates)), key=scores.__getitem__)
        return sorted(order[: len(updates) - self.plan.hostile_sites])


def squared_distances(grid: Grid, updates: Sequence[ReadUpdate]) -> list[list[int]]:
    """Between every two updates, exact whole numbers in squares of the grid's finest step.

    Within a block all products and sums are whole numbers below 2**53, so that float64 holds them exactly in
    whatever order and by however many threads they are computed; beyond a block they are Python's integers.
    """
    finest = min(grid.exponents.values())
    distances_SS = np.zeros((len(updates), len(updates)), object)
    for block, integers_SN in zip(grid.blocks(), stacked(updates), strict=True):
        products_SS = np.zeros(distances_SS.shape)
        for start in range(0, block.size, SLICE_VALUES):
            slice_SN = integers_SN[:, start : start + SLICE_VALUES].astype(np.float64)
            products_SS += slice_SN @ slice_SN.T
        squares_S = products_SS.diagonal()
        within_SS = squares_S[:, None] + squares_S[None, :] - 2 * products_SS
        distances_SS += within_SS.astype(np.int64).astype(object) << 2 * (grid.exponents[block.name] - finest)
    distances: list[list[int]] = distances_SS.tolist()
    return distances
