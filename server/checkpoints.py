"""What is kept of a round: the weights, and the strategy's state beside the grid of the next round.

Both are safetensors files, written and read block by block. The state's tensors are called SET:TENSOR; one
more holds the exponents of the next round's grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from server.combining import steps, weight_blocks
from server.strategies.strategy import Array, Change, Strategy
from shared.fixed_point.grid import Bits, Block, Grid, Shape, blocks_of, first_grid, next_grid
from shared.model.sent import CONTROL, EXPONENTS, control_of
from shared.model.tensor_file import TensorFile


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFiles:
    """Where the two files stand."""

    weights: Path
    state: Path


def write_first_state(
    files: CheckpointFiles, strategy: Strategy, sent: Mapping[str, Shape], *, bits: Bits, largest_share: float
) -> None:
    """Write the state beside the weights that a run starts from.

    Parameters
    ----------
    sent
        Names and shapes of what sites will send, in sorted order.
    """
    with files.weights.open("rb") as weights_file, files.state.open("wb") as state_file:
        weights = TensorFile.open(weights_file)
        state = TensorFile.create(state_file, _state_shapes(strategy, sent))
        largest = dict.fromkeys(sent, 0.0)
        for block in blocks_of(_of_weights(sent)):
            values = weights.read(block.name, block.start, block.stop)
            for name in (block.name, control_of(block.name)):
                largest[name] = max(largest.get(name, 0.0), float(np.abs(values).max()))
            for set_name, first in strategy.first_state(values).items():
                state.write(f"{set_name}:{block.name}", block.start, first)
        _write_grid(state, first_grid(bits, largest, sent, largest_share=largest_share))


def read_grid(files: CheckpointFiles, sent: Mapping[str, Shape], *, bits: Bits) -> Grid:
    """The grid of the round that starts from a checkpoint."""
    with files.state.open("rb") as file:
        exponents = TensorFile.open(file).read(EXPONENTS, 0, len(sent)).astype(int).tolist()
    return Grid(bits=bits, shapes=sent, exponents=dict(zip(sent, exponents, strict=True)))


def write_next(
    old: CheckpointFiles,
    new: CheckpointFiles,
    strategy: Strategy,
    grid: Grid,
    changes: Iterator[Change],
    *,
    largest_share: float,
) -> None:
    """Take the step from one checkpoint to the next.

    Parameters
    ----------
    changes
        One for each block of the weights that is sent, in order.

    Raises
    ------
    NonFiniteError
        A new weight is not finite.
    """
    with (
        old.weights.open("rb") as old_weights_file,
        old.state.open("rb") as old_state_file,
        new.weights.open("wb") as new_weights_file,
        new.state.open("wb") as new_state_file,
    ):
        old_weights, old_state = TensorFile.open(old_weights_file), TensorFile.open(old_state_file)
        new_weights = TensorFile.create(new_weights_file, old_weights.shapes)
        new_state = TensorFile.create(new_state_file, old_state.shapes)

        def read_weights(block: Block) -> Array:
            return old_weights.read(block.name, block.start, block.stop)

        def read_state(block: Block) -> dict[str, Array]:
            return {
                set_name: old_state.read(f"{set_name}:{block.name}", block.start, block.stop)
                for set_name in strategy.state_sets
            }

        kept = {name: shape for name, shape in old_weights.shapes.items() if name not in grid.shapes}
        for block in blocks_of(kept):
            new_weights.write(block.name, block.start, read_weights(block))
        largest = dict.fromkeys(grid.shapes, 0.0)
        for block, change, step in steps(
            strategy, weight_blocks(grid), changes, read_weights=read_weights, read_state=read_state
        ):
            new_weights.write(block.name, block.start, step.weights)
            for set_name, values in step.state.items():
                new_state.write(f"{set_name}:{block.name}", block.start, values)
            for name, moved in ((block.name, change.weights), (control_of(block.name), change.control)):
                if moved is not None:
                    largest[name] = max(largest[name], float(np.abs(moved).max()))
        _write_grid(new_state, next_grid(grid, largest, largest_share=largest_share))


def _of_weights(sent: Mapping[str, Shape]) -> dict[str, Shape]:
    return {name: shape for name, shape in sent.items() if not name.startswith(CONTROL)}


def _state_shapes(strategy: Strategy, sent: Mapping[str, Shape]) -> dict[str, Shape]:
    sets = {
        f"{set_name}:{name}": shape
        for set_name in strategy.state_sets
        for name, shape in _of_weights(sent).items()
    }
    return {EXPONENTS: (len(sent),), **sets}


def _write_grid(state: TensorFile, grid: Grid) -> None:
    state.write(EXPONENTS, 0, np.array(list(grid.exponents.values()), np.float64))
