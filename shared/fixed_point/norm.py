"""The norm of an update within a bound: a site shortens what is longer, admission refuses it.

The bound is on the values that are rounded: those of the update scaled by the site's share, with what earlier
rounds owe. Rounding moves each value by less than one step, and clipping to the grid only brings it nearer to
zero. So, by the triangle inequality, integers that stand for values within the bound have a norm of less than

    largest + sqrt(sum over tensors of size x step^2)

which is what admission lets in. Squares of integers are summed exactly; `ROOM` is for the float64 arithmetic
of both sides, whose relative error stays below 1e-11 for blocks of `BLOCK_VALUES`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.errors import WeightsError
from shared.fixed_point.grid import Grid, Integers

ROOM = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class NormBound:
    """A bound on the L2 norm of some tensors of an update together.

    Attributes
    ----------
    largest
        In the units of the scaled values.
    names
        The tensors that count.
    """

    largest: float
    names: frozenset[str]

    def factor(self, norm: float) -> float:
        """By what values of this norm are shortened to the bound; 1 if they are within it."""
        return min(1.0, self.largest / norm) if norm else 1.0

    def reach(self, grid: Grid) -> float:
        """What no norm of checked integers goes beyond."""
        rounding = math.sqrt(math.fsum(grid.size(name) * grid.step(name) ** 2 for name in self.names))
        return (self.largest + rounding) * (1 + ROOM)

    def checked(self, grid: Grid, blocks: Iterable[Integers]) -> Iterator[Integers]:
        """The same integers, by the grid's blocks, if they can stand for values within the bound.

        Raises
        ------
        WeightsError
            Their norm is too large: after the last of them.
        """
        squares = dict.fromkeys(self.names, 0)
        for block, integers in zip(grid.blocks(), blocks, strict=True):
            if block.name in self.names:
                wide = integers.astype(np.int64)
                squares[block.name] += int(wide @ wide)
            yield integers
        norm = math.sqrt(math.fsum(total * grid.step(name) ** 2 for name, total in squares.items()))
        if norm > self.reach(grid):
            raise WeightsError(
                "The norm of an update lies beyond the plan's bound.",
                "Check that both sides run the same version of mammofed under the same plan.",
            )


def norm_of(blocks: Iterable[NDArray[np.float64]]) -> float:
    """The L2 norm of values that come in blocks."""
    return math.sqrt(math.fsum(float(block @ block) for block in blocks))
