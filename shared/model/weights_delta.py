"""A file of weights as what has changed since another one of the same network; nothing is lost.

    magic, size in bytes of the file (uint64), SHA-256 of the file that it applies to
    for each block of words: the differences as byte planes (`shared.fixed_point.planes`)

Both files are read as words of 32 bits, little endian, and subtracted modulo 2**32. Float32 values of one
sign stand in the order of their words, so that the difference of two that are close is a small whole number;
what else is in the files is the same and gives zeros.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from shared.errors import WeightsError
from shared.fixed_point.planes import PlanePacker, PlaneReader, unzigzag, zigzag

BLOCK_WORDS = 32_768
"""Words that are read, compared and written at once."""

NUM_THREADS = min(4, os.cpu_count() or 1)
"""That pack blocks at the same time; compressing keeps no other thread waiting."""

MOST_WAITING = 2 * NUM_THREADS
"""Blocks that are read and not yet written."""

_WORD_BYTES = 4
_START = struct.Struct("<18sQ32s")
_MAGIC = b"mammofed weights 1"


def write_delta(old: BinaryIO, new: BinaryIO, delta: BinaryIO, *, old_digest: str, size_bytes: int) -> None:
    """Write what leads from one file to another of the same size, from the beginning of each.

    Parameters
    ----------
    old_digest
        Hex SHA-256 of the old file.
    size_bytes
        Of either file; whole words.
    """
    delta.write(_START.pack(_MAGIC, size_bytes, bytes.fromhex(old_digest)))
    # In turn, so that what a packer packed before has been written when its turn comes again.
    packers = cycle([PlanePacker(compress=True) for _ in range(MOST_WAITING)])
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(NUM_THREADS, "delta") as pool:
        for num_words in _blocks(size_bytes):
            if len(waiting) == MOST_WAITING:
                delta.write(waiting.popleft().result())
            waiting.append(
                pool.submit(_packed, next(packers), _words(old, num_words), _words(new, num_words))
            )
        for one in waiting:
            delta.write(one.result())


def _packed(packer: PlanePacker, old: NDArray[np.uint32], new: NDArray[np.uint32]) -> bytes:
    return packer.pack(zigzag((new - old).view(np.int32)))


def apply_delta(old: BinaryIO, delta: BinaryIO, new: BinaryIO, *, old_digest: str, size_bytes: int) -> None:
    """Write the file that a delta leads to. Its digest is for the caller to verify.

    Nothing in the delta is believed: no more than `size_bytes` is made of it.

    Raises
    ------
    WeightsError
        The delta does not apply to such a file.
    """
    reader = PlaneReader(delta, _misfit)
    reader.expect(_START.pack(_MAGIC, size_bytes, bytes.fromhex(old_digest)), "they are of other files")
    for num_words in _blocks(size_bytes):
        changed = unzigzag(reader.read(num_words, np.uint32)).view(np.uint32)
        new.write((_words(old, num_words) + changed).astype("<u4", copy=False).tobytes())
    reader.expect_end()


def _blocks(size_bytes: int) -> Iterator[int]:
    """Words of each block of a file."""
    num_words = size_bytes // _WORD_BYTES
    return (min(BLOCK_WORDS, num_words - start) for start in range(0, num_words, BLOCK_WORDS))


def _words(file: BinaryIO, num_words: int) -> NDArray[np.uint32]:
    content = file.read(_WORD_BYTES * num_words)
    if len(content) != _WORD_BYTES * num_words:
        raise _misfit("the file that they apply to is too short")
    return np.frombuffer(content, "<u4").astype(np.uint32, copy=False)


def _misfit(reason: str) -> WeightsError:
    return WeightsError(f"Changes of weights cannot be applied: {reason}.", "The weights are fetched whole.")
