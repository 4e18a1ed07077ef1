"""An update as bytes, written and read block by block.

    magic, length of the header (uint32), header
    for each block of each tensor: its integers as byte planes (`shared.fixed_point.planes`)

All numbers are little endian. The header is JSON with bits, names, shapes and the digest of the grid. A
reader knows what it must be: the header is compared and never parsed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from shared.errors import WeightsError
from shared.fixed_point.grid import Grid, Integers
from shared.fixed_point.planes import PLANE_HEAD_BYTES, PlanePacker, PlaneReader, unzigzag, zigzag

MAGIC = b"mammofed update 2\n"

_LENGTH = struct.Struct("<I")


def write_update(file: BinaryIO, grid: Grid, blocks: Iterable[Integers], *, compress: bool) -> None:
    """Write an update on a grid."""
    file.write(start_of(MAGIC, grid))
    packer = PlanePacker(compress=compress)
    for integers in blocks:
        file.write(packer.pack(zigzag(integers)))


def read_update(file: BinaryIO, grid: Grid) -> Iterator[Integers]:
    """The integers of an update, in the order of the grid's blocks. Nothing in the bytes is believed.

    Raises
    ------
    WeightsError
        The bytes are not an update on this grid, to the last one of them.
    """
    reader = PlaneReader(file, misfit)
    reader.expect(start_of(MAGIC, grid), "it is for another network, or on another grid")
    dtype = np.uint8 if grid.bits == 8 else np.uint16
    for block in grid.blocks():
        integers: Integers = unzigzag(reader.read(block.size, dtype))
        # The one integer beyond the grid: rounding never gives it.
        if integers.size and integers.min() < -grid.largest:
            raise misfit("a value lies beyond the grid")
        yield integers
    reader.expect_end()


def largest_file(grid: Grid) -> int:
    """Bytes that no update on this grid exceeds."""
    num_planes = sum(1 for _ in grid.blocks()) * grid.bits // 8
    return len(start_of(MAGIC, grid)) + num_planes * PLANE_HEAD_BYTES + grid.num_values * grid.bits // 8


def start_of(magic: bytes, grid: Grid) -> bytes:
    """What a file of integers on a grid begins with."""
    tensors = [[name, list(shape)] for name, shape in grid.shapes.items()]
    document = {"bits": grid.bits, "grid": grid.digest, "tensors": tensors}
    header = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return magic + _LENGTH.pack(len(header)) + header


def misfit(reason: str) -> WeightsError:
    """The error that tells why bytes are not an update of a round."""
    return WeightsError(
        f"An update is not of the round that it is for: {reason}.",
        "Check that both sides run the same version of mammofed under the same plan.",
    )
