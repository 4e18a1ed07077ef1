"""The mean of each value without its largest and smallest answers.

Yin et al., Byzantine-robust distributed learning: towards optimal statistical rates, ICML 2018.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from server.strategies.strategy import Array, ReadUpdate, RobustStrategy, sorted_by_value, stacked
from shared.fixed_point.grid import Grid


@dataclass(frozen=True, slots=True)
class TrimmedMean(RobustStrategy):
    """Of n sorted answers, the mean of those from h + 1 to n - h, with h the plan's `hostile_sites`."""

    def mean_blocks(self, grid: Grid, updates: Sequence[ReadUpdate]) -> Iterator[Array]:
        """The integers are sorted and summed as integers: the mean is exact before its one division."""
        del grid
        trimmed = self.plan.hostile_sites
        kept = len(updates) - 2 * trimmed
        for block_SN in stacked(updates):
            sorted_NS = sorted_by_value(block_SN)
            yield sorted_NS[:, trimmed : trimmed + kept].sum(axis=1, dtype=np.int64) / kept
