"""What every strategy is: first a mean over sites, then a step of the model.

The mean is the sites' weighted mean, which is exact and needs only their sum; or what a robust strategy makes
of the single updates. The step turns the mean into new weights, and into what the strategy itself remembers
until the next round. Both go block by block, so that no model is ever held whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from shared.fixed_point.grid import Grid, Integers
from shared.plan import AggregationPlan

Array = NDArray[np.float64]

ReadUpdate = Callable[[], Iterator[Integers]]
"""Reads one admitted update from its beginning, block by block; may be called again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a round's answers say of one block of a tensor.

    Attributes
    ----------
    weights
        Mean change of the weights.
    control
        Sum of the changes of the sites' control variates, scaled by their shares; `scaffold` alone has them.
    """

    weights: Array
    control: Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What becomes of one block: its new weights, and the strategy's state by the names of its sets."""

    weights: Array
    state: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Strategy:
    """The mean of the updates is the step; other strategies change one part of this.

    Attributes
    ----------
    needs_single_updates
        Its mean is made of single updates, so that it cannot go together with secure aggregation, and every
        site counts alike.
    state_sets
        Named sets of tensors, each of the size of the model, that it remembers from round to round; they are
        stored with the checkpoint.
    """

    plan: AggregationPlan

    needs_single_updates: ClassVar[bool] = False
    state_sets: ClassVar[tuple[str, ...]] = ()

    def first_state(self, weights: Array) -> dict[str, Array]:
        """The state of one block before the first round."""
        return {name: np.zeros_like(weights) for name in self.state_sets}

    def step(self, weights: Array, change: Change, state: Mapping[str, Array]) -> Step:
        """The new weights and state of one block."""
        del state
        return Step(weights=weights + change.weights)


@dataclass(frozen=True, slots=True)
class RobustStrategy(Strategy, ABC):
    """Makes its mean of single updates that count alike."""

    needs_single_updates: ClassVar[bool] = True

    @abstractmethod
    def mean_blocks(self, grid: Grid, updates: Sequence[ReadUpdate]) -> Iterator[Array]:
        """The mean in steps of the grid, block by block."""


def stacked(updates: Sequence[ReadUpdate]) -> Iterator[Integers]:
    """Blocks of all updates beside each other, S sites by N values."""
    for blocks in zip(*(read() for read in updates), strict=True):
        yield np.stack(blocks)


def sorted_by_value(block_SN: Integers) -> NDArray[np.signedinteger]:
    """The answers for each value in ascending order, values by sites: sorted where they lie together."""
    block_NS = np.empty(block_SN.shape[::-1], block_SN.dtype)
    block_NS[:] = block_SN.T
    block_NS.sort(axis=1)
    return block_NS
