"""Rounding an update to the grid: stochastic, seeded, with or without error feedback.

A value x in steps becomes floor(x + u) with u uniform in [0, 1): right in the mean, wrong by less than one
step (Gupta et al., Deep learning with limited numerical precision, ICML 2015). With error feedback the
difference between what was meant and what was sent is added to the next round's update (Seide et al., 1-bit
stochastic gradient descent, Interspeech 2014; Karimireddy et al., ICML 2019), what was clipped included; but
not what a bound on the norm has cut off: that is gone, so that what is owed stays bounded as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.fixed_point.grid import Block, Grid, Integers
from shared.fixed_point.norm import NormBound, norm_of

Reals = NDArray[np.float32] | NDArray[np.float64]


def rounding_key(seed: int, *, run_id: str, round_number: int, attempt: int, site_id: str) -> bytes:
    """A key of its own for each site, round and attempt: the same occasion rounds the same way again."""
    words = ["rounding", str(seed), run_id, str(round_number), str(attempt), site_id]
    return hashlib.sha256("\x1f".join(words).encode()).digest()


@dataclass(slots=True, kw_only=True)
class Rounding:
    """Rounds one update.

    Attributes
    ----------
    share
        The site's share: every value is scaled by it first.
    residual
        What earlier rounds still owe, scaled by the share, each tensor flat and float32; replaced in place by
        what is owed after this one. What is not in it is rounded without feedback, None all.
    bound
        On the norm of the scaled values with what is owed; None if there is none.
    num_clipped
        Values so far that lay beyond the largest integer.
    factor
        By what the values that the bound counts were shortened.
    """

    grid: Grid
    share: float
    key: bytes
    residual: MutableMapping[str, NDArray[np.float32]] | None = None
    bound: NormBound | None = None
    num_clipped: int = 0
    factor: float = 1.0

    def blocks(self, update: Mapping[str, Reals]) -> Iterator[Integers]:
        """The integers of an update, in the order of the grid's blocks; values are finite."""
        bounded = self.bound.names if self.bound else frozenset()
        if self.bound is not None:
            counted = (self._meant(block, update) for block in self.grid.blocks() if block.name in bounded)
            self.factor = self.bound.factor(norm_of(counted))
        for block in self.grid.blocks():
            values = self._meant(block, update)
            yield self._round(block, values * self.factor if block.name in bounded else values)

    def _meant(self, block: Block, update: Mapping[str, Reals]) -> NDArray[np.float64]:
        values = update[block.name].reshape(-1)[block.start : block.stop].astype(np.float64)
        values *= self.share
        if self.residual is not None and block.name in self.residual:
            values += self.residual[block.name][block.start : block.stop]
        return values

    def _round(self, block: Block, values: NDArray[np.float64]) -> Integers:
        step = self.grid.step(block.name)
        integers = values / step
        integers += self._uniform(block)
        np.floor(integers, out=integers)
        clipped = np.clip(integers, -self.grid.largest, self.grid.largest)
        self.num_clipped += int(np.count_nonzero(clipped != integers))
        if self.residual is not None and block.name in self.residual:
            self.residual[block.name][block.start : block.stop] = values - clipped * step
        return clipped.astype(np.int16) if self.grid.bits == 16 else clipped.astype(np.int8)

    def _uniform(self, block: Block) -> NDArray[np.float64]:
        """Multiples of 2**-32 in [0, 1), drawn for this block alone, from Philox's specified stream."""
        word = hashlib.sha256(self.key + f"{block.start}\x1f{block.name}".encode()).digest()
        drawn = np.random.Philox(key=int.from_bytes(word[:16], "little")).random_raw((block.size + 1) // 2)
        return drawn.astype("<u8").view("<u4")[: block.size] * 2.0**-32


def no_residual(grid: Grid) -> dict[str, NDArray[np.float32]]:
    """What is owed before the first round."""
    return {name: np.zeros(grid.size(name), np.float32) for name in grid.shapes}
