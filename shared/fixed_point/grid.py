"""The grid of a round: which integers stand for which values.

A value of a tensor is an integer of 8 or 16 bits times the tensor's step, a power of two that is the same for
all sites. Powers of two make scaling exact on every machine; one step for all makes sums of integers mean
something. What lies beyond the largest integer is clipped.

Steps follow from the last aggregate: the next round's updates may be `HEADROOM` times as large as its
largest change. Before the first round nothing is known but the weights: a change as large as a tensor's
largest weight still fits.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Bits = Literal[8, 16]
Shape = tuple[int, ...]
Integers = NDArray[np.int8] | NDArray[np.int16]

BLOCK_VALUES = 32_768
"""Values that are rounded, written, read and summed at once."""

HEADROOM: Mapping[int, float] = {8: 2.0, 16: 4.0}
"""A single site changes more than the mean does. With 8 bits the resolution counts for more, and error
feedback brings back what was clipped."""

FIRST_FLOOR: Mapping[int, float] = {8: 0.1, 16: 1.0}
"""In the first round a tensor of small weights may change by this share of the largest weight of all."""

MAX_FALL = 2
"""A round may refine a step by this power of two at most: after a quiet round, the next is not clipped."""

MIN_EXPONENT, MAX_EXPONENT = -120, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Values `start` to `stop` of one flattened tensor."""

    name: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many values."""
        return self.stop - self.start


def blocks_of(shapes: Mapping[str, Shape]) -> Iterator[Block]:
    """All values of some tensors, block by block."""
    for name, shape in shapes.items():
        size = prod(shape)
        for start in range(0, size, BLOCK_VALUES):
            yield Block(name=name, start=start, stop=min(start + BLOCK_VALUES, size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Bits, and for each tensor its shape and the exponent of its step; tensors by name, in sorted order."""

    bits: Bits
    shapes: Mapping[str, Shape]
    exponents: Mapping[str, int]

    def __post_init__(self) -> None:
        assert list(self.shapes) == sorted(self.shapes) == list(self.exponents)
        assert all(MIN_EXPONENT <= exponent <= MAX_EXPONENT for exponent in self.exponents.values())

    @property
    def largest(self) -> int:
        """The largest integer; the smallest is its negative."""
        return int(2 ** (self.bits - 1) - 1)

    @property
    def num_values(self) -> int:
        """Values of all tensors."""
        return sum(self.size(name) for name in self.shapes)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of bits, names, shapes and steps."""
        tensors = [[name, list(shape), self.exponents[name]] for name, shape in self.shapes.items()]
        return hashlib.sha256(json.dumps([self.bits, tensors]).encode()).hexdigest()

    def size(self, name: str) -> int:
        """Values of one tensor."""
        return prod(self.shapes[name])

    def step(self, name: str) -> float:
        """The value of the integer 1 in a tensor."""
        return math.ldexp(1.0, self.exponents[name])

    def blocks(self) -> Iterator[Block]:
        """All values, block by block, in the order in which they are sent."""
        return blocks_of(self.shapes)

    def error_bound(self, name: str, *, num_sites: int, answered: float) -> float:
        """How far a mean may lie from the exact one, for values that were not clipped and without feedback.

        Stochastic rounding moves a value by less than one step.

        Parameters
        ----------
        num_sites
            Sites that answered.
        answered
            Their shares' sum, in (0, 1].
        """
        return num_sites * self.step(name) / answered


def first_grid(
    bits: Bits, largest_weights: Mapping[str, float], shapes: Mapping[str, Shape], *, largest_share: float
) -> Grid:
    """The grid of a run's first round.

    Parameters
    ----------
    largest_weights
        Largest magnitude in each tensor of the weights that the run starts from.
    largest_share
        Largest share of one site in (0, 1]: values are scaled by shares before they are rounded.
    """
    floor = FIRST_FLOOR[bits] * max(largest_weights.values(), default=0.0)
    reaches = {name: max(largest_weights[name], floor) or 1.0 for name in shapes}
    return _grid(bits, shapes, {name: reach * largest_share for name, reach in reaches.items()})


def next_grid(last: Grid, largest_changes: Mapping[str, float], *, largest_share: float) -> Grid:
    """The grid of the round after one whose aggregate changed each tensor by at most so much."""
    headroom = HEADROOM[last.bits]
    wished = _grid(
        last.bits,
        last.shapes,
        {name: headroom * largest_changes[name] * largest_share for name in last.shapes},
    )
    exponents = {
        name: max(exponent, last.exponents[name] - MAX_FALL, MIN_EXPONENT)
        for name, exponent in wished.exponents.items()
    }
    return Grid(bits=last.bits, shapes=last.shapes, exponents=exponents)


def _grid(bits: Bits, shapes: Mapping[str, Shape], reaches: Mapping[str, float]) -> Grid:
    """The finest grid on which a tensor's largest integer reaches at least so far."""
    largest = 2 ** (bits - 1) - 1
    exponents = {name: _exponent(reaches[name] / largest) for name in sorted(shapes)}
    return Grid(bits=bits, shapes={name: tuple(shapes[name]) for name in exponents}, exponents=exponents)


def _exponent(step: float) -> int:
    """The smallest exponent whose power of two is not below `step`."""
    mantissa, exponent = math.frexp(step)
    smallest = exponent - 1 if mantissa == 0.5 else exponent
    return min(MAX_EXPONENT, max(MIN_EXPONENT, smallest if step else MIN_EXPONENT))
