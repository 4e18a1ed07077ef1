"""The median of each value.

Yin et al., Byzantine-robust distributed learning: towards optimal statistical rates, ICML 2018.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from server.strategies.strategy import Array, ReadUpdate, RobustStrategy, sorted_by_value, stacked
from shared.fixed_point.grid import Grid


@dataclass(frozen=True, slots=True)
class Median(RobustStrategy):
    """The middle answer, or the mean of the two in the middle."""

    def mean_blocks(self, grid: Grid, updates: Sequence[ReadUpdate]) -> Iterator[Array]:
        """Medians of integers, exact."""
        del grid
        for block_SN in stacked(updates):
            sorted_NS = sorted_by_value(block_SN)
            low, high = (len(updates) - 1) // 2, len(updates) // 2
            yield (sorted_NS[:, low].astype(np.float64) + sorted_NS[:, high]) / 2
