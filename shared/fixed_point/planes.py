"""Whole numbers as byte planes, compressed with zstd where that saves, and read back within bounds.

    for each byte plane from the lowest: codec (uint8), length (uint32, little endian), bytes

A plane holds one byte of each number. The high bytes of small numbers are nearly all alike and compress; the
low ones are nearly noise and stay as they are. Signed numbers are written as 0, -1, 1, -2, 2, ... so that
their sign lies in the lowest bit and not in every high byte.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import BinaryIO

import numpy as np
import zstandard
from numpy.typing import NDArray

from shared.errors import WeightsError

PARAMETERS = zstandard.ZstdCompressionParameters.from_level(1, hash_log=8, min_match=7)
"""Of zstd. Rows of such bytes repeat by chance alone; what saves is that some bytes are frequent. To look for
repetitions in a small table takes up to a third less time than level 1 does, and fewer are taken in vain."""

MOST_BYTES = 2**20
"""Of a plane: more is neither written nor made while reading, whatever a length or a frame promises."""

Misfit = Callable[[str], WeightsError]
"""Makes the error that tells why bytes cannot be read."""

_PLANE = struct.Struct("<BI")
PLANE_HEAD_BYTES = _PLANE.size


class Codec(IntEnum):
    """How a plane is written."""

    PLAIN = 0
    ZSTD = 1


class PlanePacker:
    """Makes the bytes of unsigned numbers; for one thread at a time."""

    def __init__(self, *, compress: bool) -> None:
        self._compressor = zstandard.ZstdCompressor(compression_params=PARAMETERS) if compress else None

    def pack(self, numbers: NDArray[np.unsignedinteger]) -> bytes:
        """Numbers of one, two or four bytes each."""
        assert numbers.size <= MOST_BYTES
        parts = []
        for place in range(numbers.itemsize):
            plane = (numbers >> (8 * place)).astype(np.uint8).tobytes()
            codec, content = Codec.PLAIN, plane
            if self._compressor is not None and len(packed := self._compressor.compress(plane)) < len(plane):
                codec, content = Codec.ZSTD, packed
            parts += [_PLANE.pack(codec, len(content)), content]
        return b"".join(parts)


class PlaneReader:
    """Reads numbers back; nothing in the bytes is believed.

    Parameters
    ----------
    misfit
        Makes the error, a WeightsError, that methods raise.
    """

    def __init__(self, file: BinaryIO, misfit: Misfit) -> None:
        self._file = file
        self._misfit = misfit
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=MOST_BYTES)

    def read(self, size: int, dtype: type[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
        """The next `size` numbers."""
        numbers = np.zeros(size, dtype)
        for place in range(numbers.itemsize):
            numbers |= np.frombuffer(self._plane(size), np.uint8).astype(dtype) << (8 * place)
        return numbers

    def expect(self, content: bytes, reason: str) -> None:
        """Insist that just these bytes come next."""
        if self._file.read(len(content)) != content:
            raise self._misfit(reason)

    def expect_end(self) -> None:
        """Insist that nothing follows."""
        if self._file.read(1):
            raise self._misfit("bytes follow its end")

    def _plane(self, size: int) -> bytes:
        codec, length = _PLANE.unpack(self._read(_PLANE.size))
        if codec == Codec.PLAIN and length == size:
            return self._read(length)
        if codec == Codec.ZSTD and length < size:
            return self._decompressed(self._read(length), size)
        raise self._misfit("a block has another length or an unknown codec")

    def _decompressed(self, packed: bytes, size: int) -> bytes:
        """One frame of exactly `size` bytes; what it says of itself bounds what is made of it."""
        try:
            frame = zstandard.get_frame_parameters(packed)
            if frame.content_size == size and frame.window_size <= MOST_BYTES:
                return self._decompressor.decompress(packed, max_output_size=size, allow_extra_data=False)
        except (zstandard.ZstdError, MemoryError) as error:
            raise self._misfit("a block cannot be decompressed") from error
        raise self._misfit("a block decompresses to another length")

    def _read(self, length: int) -> bytes:
        content = self._file.read(length)
        if len(content) != length:
            raise self._misfit("it ends too early")
        return content


def zigzag(integers: NDArray[np.signedinteger]) -> NDArray[np.unsignedinteger]:
    """0, -1, 1, -2, 2, ... as 0, 1, 2, 3, 4, ..., in as many bits."""
    numbers = integers << 1
    numbers ^= integers >> (8 * integers.itemsize - 1)
    return numbers.view(f"u{integers.itemsize}")


def unzigzag(numbers: NDArray[np.unsignedinteger]) -> NDArray[np.signedinteger]:
    """Undo `zigzag`."""
    signed = f"i{numbers.itemsize}"
    integers: NDArray[np.signedinteger] = (numbers >> 1).view(signed)
    integers ^= -(numbers & 1).view(signed)
    return integers
