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

LEVEL = 1
"""Of zstd; higher ones take longer and save less than a hundredth of these numbers."""

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


class PlaneWriter:
    """Writes arrays of unsigned numbers to a file."""

    def __init__(self, file: BinaryIO, *, compress: bool) -> None:
        self._file = file
        self._compressor = zstandard.ZstdCompressor(level=LEVEL) if compress else None

    def write(self, numbers: NDArray[np.unsignedinteger]) -> None:
        """Write the next numbers, of one, two or four bytes each."""
        little = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder("<"))
        assert little.size <= MOST_BYTES
        bytes_NB = little.view(np.uint8).reshape(little.size, little.itemsize)
        for place in range(little.itemsize):
            plane = bytes_NB[:, place].tobytes()
            codec, content = Codec.PLAIN, plane
            if self._compressor is not None and len(packed := self._compressor.compress(plane)) < len(plane):
                codec, content = Codec.ZSTD, packed
            self._file.write(_PLANE.pack(codec, len(content)) + content)


class PlaneReader:
    """Reads them back; nothing in the bytes is believed.

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
        bytes_NB = np.empty((size, np.dtype(dtype).itemsize), np.uint8)
        for place in range(bytes_NB.shape[1]):
            bytes_NB[:, place] = np.frombuffer(self._plane(size), np.uint8)
        little = bytes_NB.view(np.dtype(dtype).newbyteorder("<")).reshape(size)
        return little.astype(dtype, copy=False)

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
    signs = integers >> (8 * integers.itemsize - 1)
    return ((integers << 1) ^ signs).view(f"u{integers.itemsize}")


def unzigzag(numbers: NDArray[np.unsignedinteger]) -> NDArray[np.signedinteger]:
    """Undo `zigzag`."""
    signed = f"i{numbers.itemsize}"
    integers: NDArray[np.signedinteger] = (numbers >> 1).view(signed) ^ -(numbers & 1).view(signed)
    return integers
