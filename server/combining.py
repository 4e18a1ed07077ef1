"""From a round's admitted updates to the next weights, block by block.

Nothing here holds more than the sum of the updates (as large as the model; under scaffold twice as large, for
the control variate has a sum of its own) or, for a robust strategy, one block of each: weights and states are
read when a block's turn comes, and steps are handed over one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from server.open_files import allow_open_files
from server.strategies.strategy import Array, Change, ReadUpdate, RobustStrategy, Step, Strategy
from shared.errors import AggregationError, NonFiniteError
from shared.fixed_point.grid import Block, Grid
from shared.fixed_point.sums import IntegerSum
from shared.model.sent import CONTROL, control_of

MIN_CONTRIBUTIONS = 2
"""The mean of one contribution is that site's own update: never made."""

LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def weight_blocks(grid: Grid) -> Iterator[Block]:
    """The blocks of what is sent of the weights, in order."""
    return (block for block in grid.blocks() if not block.name.startswith(CONTROL))


def changes_by_sum(total: IntegerSum, grid: Grid, *, answered: float) -> Iterator[Change]:
    """The sites' weighted mean, for each block of the weights.

    Parameters
    ----------
    total
        Sum of the admitted updates.
    answered
        Sum of the shares of the sites that answered.

    Raises
    ------
    AggregationError
        Fewer than `MIN_CONTRIBUTIONS` updates were added.
    """
    _insist_on_several(total.num_added)

    def values(name: str, block: Block, divisor: float) -> Array:
        return _scaled(total.of(name)[block.start : block.stop], grid.step(name) / divisor)

    for block in weight_blocks(grid):
        control = control_of(block.name)
        yield Change(
            weights=values(block.name, block, answered),
            control=values(control, block, 1.0) if control in grid.shapes else None,
        )


def changes_by_robust_mean(
    strategy: RobustStrategy, updates: Sequence[ReadUpdate], grid: Grid, *, share: float
) -> Iterator[Change]:
    """A robust mean, for each block of the weights.

    Parameters
    ----------
    updates
        The admitted updates in the order of site ids.
    share
        The share by which every site scaled its update.

    Raises
    ------
    AggregationError
        Fewer updates than the strategy needs, or more than this process may have open.
    """
    _insist_on_several(len(updates), least=strategy.plan.least_answers)
    allow_open_files(len(updates))
    for block, mean in zip(grid.blocks(), strategy.mean_blocks(grid, updates), strict=True):
        yield Change(weights=mean * (grid.step(block.name) / share))


def steps(
    strategy: Strategy,
    blocks: Iterator[Block],
    changes: Iterator[Change],
    *,
    read_weights: Callable[[Block], Array],
    read_state: Callable[[Block], Mapping[str, Array]],
) -> Iterator[tuple[Block, Change, Step]]:
    """What becomes of each block, with the change that led there.

    Raises
    ------
    NonFiniteError
        A new weight is not finite, or too large for float32.
    """
    for block, change in zip(blocks, changes, strict=True):
        step = strategy.step(read_weights(block), change, read_state(block))
        if not np.abs(step.weights).max(initial=0) <= LARGEST_FLOAT32:
            raise NonFiniteError(
                "The aggregate holds a value that is not finite.",
                "The last good model is unchanged; lower the plan's learning rate.",
            )
        yield block, change, step


def _scaled(sums: NDArray[np.int32], step: float) -> Array:
    return sums.astype(np.float64) * step


def _insist_on_several(num_updates: int, *, least: int = MIN_CONTRIBUTIONS) -> None:
    if num_updates < least:
        raise AggregationError(
            f"An aggregate of {num_updates} updates was asked for.",
            f"The plan's strategy needs the updates of at least {least} sites.",
        )
