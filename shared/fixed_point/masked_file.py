"""A masked update as bytes, written and read block by block.

    magic, bits of the ring (uint8), length of the header (uint32), header
    for each block of each tensor: its residues modulo 2^k

Masked values are noise to whoever has no key, so nothing is compressed, and every update of a round has the
same length. Of a block's residues the whole bytes come first, a plane for each from the lowest, as in
`shared.fixed_point.planes`; then a plane of single bits for each bit that is left, packed into bytes. The
header is that of `shared.fixed_point.update_file`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from shared.fixed_point.grid import Grid
from shared.fixed_point.update_file import misfit, start_of

MAGIC = b"mammofed masked update 1\n"


def write_masked(file: BinaryIO, grid: Grid, blocks: Iterable[NDArray[np.uint32]], *, ring: int) -> None:
    """Write residues, whose bits beyond the ring are left out."""
    file.write(_start(grid, ring))
    for words in blocks:
        for place in range(ring // 8):
            file.write((words >> (8 * place)).astype(np.uint8).tobytes())
        for place in range(ring - ring % 8, ring):
            file.write(np.packbits((words >> place).astype(np.uint8) & 1).tobytes())


def read_masked(file: BinaryIO, grid: Grid, *, ring: int) -> Iterator[NDArray[np.int32]]:
    """The residues of an update, in the order of the grid's blocks. Nothing in the bytes is believed.

    Raises
    ------
    WeightsError
        The bytes are not a masked update on this grid and in this ring, to the last one of them.
    """
    start = _start(grid, ring)
    if file.read(len(start)) != start:
        raise misfit("it is for another network, on another grid, or masked for other sites")
    for block in grid.blocks():
        words = np.zeros(block.size, np.uint32)
        for place in range(ring // 8):
            words |= np.frombuffer(_read(file, block.size), np.uint8).astype(np.uint32) << (8 * place)
        for place in range(ring - ring % 8, ring):
            plane = np.frombuffer(_read(file, -(-block.size // 8)), np.uint8)
            words |= np.unpackbits(plane, count=block.size).astype(np.uint32) << place
        yield words.view(np.int32)
    if file.read(1):
        raise misfit("bytes follow its end")


def masked_size(grid: Grid, *, ring: int) -> int:
    """Bytes of every masked update on this grid."""
    sizes = (block.size * (ring // 8) + -(-block.size // 8) * (ring % 8) for block in grid.blocks())
    return len(_start(grid, ring)) + sum(sizes)


def _start(grid: Grid, ring: int) -> bytes:
    return start_of(MAGIC + bytes([ring]), grid)


def _read(file: BinaryIO, length: int) -> bytes:
    content = file.read(length)
    if len(content) != length:
        raise misfit("it ends too early")
    return content
