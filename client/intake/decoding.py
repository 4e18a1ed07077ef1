"""From a data set to the values stored in its frame, by the fastest decoder that gives pydicom's own values.

What only pydicom handles (native pixels, 8-bit JPEG, signed JPEG 2000) is left to pydicom. A decoder
allocates what the coded frame asks for, so the frame's own size is first compared with the header's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    JPEG2000,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from client.intake.exclusions import Reason, refusal

Stored = npt.NDArray[np.integer[Any]]

DECODERS: dict[str, Callable[[bytes], npt.NDArray[Any]]] = {
    JPEGExtended12Bit: imagecodecs.jpeg_decode,
    JPEGLossless: imagecodecs.jpeg_decode,
    JPEGLosslessSV1: imagecodecs.jpeg_decode,
    JPEGLSLossless: imagecodecs.jpegls_decode,
    JPEGLSNearLossless: imagecodecs.jpegls_decode,
    JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    JPEG2000: imagecodecs.jpeg2k_decode,
}
JPEG_SYNTAXES = frozenset({JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1})
J2K_SYNTAXES = frozenset({JPEG2000Lossless, JPEG2000})

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
J2K_START = b"\xff\x4f\xff\x51"
J2K_SIZE = struct.Struct(">4x2x2x4I")
"""SOC, SIZ with its length and capabilities, then Xsiz, Ysiz, XOsiz, YOsiz (ISO/IEC 15444-1, A.5.1)."""
JPEG_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""Markers SOF0 to SOF15 and that of JPEG-LS, SOF55 (ISO/IEC 10918-1, B.1.1.3; 14495-1, C.1.1)."""


def stored_values(dataset: Dataset, rows: int, columns: int) -> Stored:
    """Decode the only frame of a data set of that size.

    Returns
    -------
    Stored
        Integers of 8, 16 or 32 bits, H x W, signed as the header says.

    Raises
    ------
    UndecodableError
        The frame is not what the header says. The decoders raise errors of their own besides.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in DECODERS:
        stored_HW = _decoded(dataset, syntax, (rows, columns))
    elif syntax == RLELossless:
        stored_HW = _run_lengths(dataset, rows, columns)
    else:
        stored_HW = dataset.pixel_array
    fits = stored_HW.dtype.kind in "iu" and 8 * stored_HW.dtype.itemsize <= dataset.BitsAllocated
    if stored_HW.shape != (rows, columns) or not fits:
        raise refusal(Reason.UNDECODABLE)
    return stored_HW


def _decoded(dataset: Dataset, syntax: str, shape: tuple[int, int]) -> npt.NDArray[Any]:
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    # Without its end the codec of JPEG fills the missing rows with grey and says nothing.
    if syntax in JPEG_SYNTAXES and JPEG_END not in frame[-4:]:
        raise refusal(Reason.UNDECODABLE)
    if coded_size(frame, syntax) != shape:
        raise refusal(Reason.UNDECODABLE)
    decoded_HW = np.asarray(DECODERS[syntax](frame))
    if syntax in J2K_SYNTAXES and (dataset.PixelRepresentation, decoded_HW.dtype.kind) != (0, "u"):
        # The codestream has a sign of its own, which pydicom reconciles with the header's.
        decoded_HW = dataset.pixel_array
    if dataset.PixelRepresentation == 0 or decoded_HW.dtype != np.uint16:
        return decoded_HW
    # Plain JPEG knows no sign: the stored bits are moved up to the sign's place and back.
    unused = 16 - int(dataset.BitsStored)
    signed_HW: Stored = np.left_shift(decoded_HW, unused).view(np.int16) >> unused
    return signed_HW


def _run_lengths(dataset: Dataset, rows: int, columns: int) -> npt.NDArray[Any]:
    """RLE (PS3.5 Annex G) of 16 unsigned bits."""
    if (dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.PixelRepresentation) == (1, 16, 0):
        # Segments that are longer than they should be, which pydicom cuts, are an error here.
        with suppress(imagecodecs.DicomrleError):
            decoded = imagecodecs.dicomrle_decode(get_frame(dataset.PixelData, 0, number_of_frames=1), "<u2")
            if len(decoded) == 2 * rows * columns:
                stored_HW = np.frombuffer(decoded, "<u2").reshape(rows, columns)
                # pydicom clears the bits beyond those stored.
                if stored_HW.max() < 1 << dataset.BitsStored:
                    return stored_HW
    array: npt.NDArray[Any] = dataset.pixel_array
    return array


def coded_size(frame: bytes, syntax: str) -> tuple[int, int] | None:
    """Rows and columns that a frame of JPEG, JPEG-LS or JPEG 2000 asks its decoder for; None without any."""
    return _size_of_j2k(frame) if syntax in J2K_SYNTAXES else _size_of_jpeg(frame)


def _size_of_j2k(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG 2000 codestream; some makers put a file's boxes before it."""
    start = frame.find(J2K_START, 0, 512)
    if start < 0 or len(frame) < start + J2K_SIZE.size:
        return None
    right, bottom, left, top = J2K_SIZE.unpack_from(frame, start)
    return bottom - top, right - left


def _size_of_jpeg(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG or JPEG-LS stream (ISO/IEC 10918-1, B.2.2)."""
    position = 2 if frame.startswith(JPEG_START) else len(frame)
    while position + 9 <= len(frame) and frame[position] == 0xFF:
        marker, length, rows, columns = struct.unpack_from(">xBHxHH", frame, position)
        if marker in JPEG_FRAMES:
            return rows, columns
        position += 1 if marker == 0xFF else 2 + length
    return None
