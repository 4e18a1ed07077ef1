"""Sums of integer updates: the same to the last bit in whatever order the updates come.

Sums are int32, which `MAX_SITES` updates of 16 bits cannot overflow. Addition of int32 is addition modulo
2**32: masks that cancel modulo 2**32 vanish from a sum without a trace. Masked updates that travel in fewer
bits cancel modulo 2**k; `centred` reads their sum, if k is at least `ring_bits`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from shared.errors import AggregationError
from shared.fixed_point.grid import Bits, Grid

MAX_SITES = 65_536


class IntegerSum:
    """The sum of updates on one grid; as large as its tensors in float32, however many sites."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._sums = {name: np.zeros(grid.size(name), np.int32) for name in grid.shapes}
        self.num_added = 0

    def add(self, read: Callable[[], Iterator[NDArray[np.integer]]]) -> None:
        """Add one update as it is read; of one that turns out to be none, nothing stays.

        Parameters
        ----------
        read
            Reads it from its beginning, block by block; what it raises is raised on.

        Raises
        ------
        AggregationError
            `MAX_SITES` updates have been added.
        """
        if self.num_added == MAX_SITES:
            raise AggregationError(
                f"More than {MAX_SITES:,} updates are in one round.", "Divide the sites into several runs."
            )
        num_blocks = 0
        try:
            for block, integers in zip(self._grid.blocks(), read(), strict=True):
                self._sums[block.name][block.start : block.stop] += integers
                num_blocks += 1
        except BaseException:
            for block, integers in islice(zip(self._grid.blocks(), read(), strict=False), num_blocks):
                self._sums[block.name][block.start : block.stop] -= integers
            raise
        self.num_added += 1

    def take_off(self, words: Callable[[int], NDArray[np.uint32]], *, ring: int, furthest: int = 0) -> None:
        """Take a mask off a sum of masked updates, which is read modulo 2**`ring` then.

        Parameters
        ----------
        words
            The next words of the mask, so many as are asked for.
        furthest
            How far noise in the updates may take the sum beyond theirs.

        Raises
        ------
        AggregationError
            What is left is no sum of so many updates; nothing can be read from it any more.
        """
        most = self.num_added * self._grid.largest + furthest
        for block in self._grid.blocks():
            part = self._sums[block.name][block.start : block.stop]
            part -= words(block.size).view(np.int32)
            left = centred(part, ring)
            if left.size and int(np.abs(left).max()) > most:
                raise AggregationError(
                    "The masks of a round do not cancel.",
                    "The round is tried again; if it recurs, a site is hostile or runs another version.",
                )
            part[:] = left

    def ring_bits(self, num_sites: int) -> int:
        """As the function of this name, for this grid."""
        return ring_bits(self._grid.bits, num_sites)

    def of(self, name: str) -> NDArray[np.int32]:
        """The sum of one tensor, flat; not a copy."""
        return self._sums[name]


def ring_bits(bits: Bits, num_sites: int) -> int:
    """The least k with which a masked sum of so many sites can be read modulo 2**k."""
    largest: int = num_sites * (2 ** (bits - 1) - 1)
    return largest.bit_length() + 1


def centred(sums: NDArray[np.integer], ring: int) -> NDArray[np.int64]:
    """Residues modulo 2**`ring`, read as the numbers nearest to zero."""
    shift = 64 - ring
    return (sums.astype(np.int64) << shift) >> shift
