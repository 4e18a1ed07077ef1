"""NIfTI files, plain or compressed, with one picture inside.

The axes of the array are x and y, that is column and row, so the picture is its transpose. The affine plays
no part: a mammogram has no place in the patient's space, and the tools that write NIfTI fill in axes by
convention, with signs that differ from tool to tool, while they all store pixels in the order of the image
that was drawn on. To follow the signs would mirror masks that fit.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, Any, cast

import nibabel
import numpy as np
import numpy.typing as npt

from client.intake.exclusions import Reason, refusal
from client.intake.recognition import open_regular

MAX_PIXELS = 100_000_000
HEADER_SIZE = 348
HEADER_SIZE_2 = 540
MAX_OFFSET = 1 << 20
"""Between header and pixels lie extensions, which are small."""
GZIP = b"\x1f\x8b"


def is_nifti(path: Path) -> bool:
    """Whether the file begins as NIfTI-1 or NIfTI-2 in one file does.

    Raises
    ------
    IntakeError
        The file cannot be read.
    """
    try:
        with open_regular(path) as file:
            return _version(_inflated(file).read(HEADER_SIZE)) is not None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error


def read_nifti(path: Path) -> npt.NDArray[Any]:
    """The picture, H x W, of integers or floats, with the file's scale and intercept applied.

    Raises
    ------
    IntakeError
        The file cannot be read.
    UndecodableError
        It is no NIfTI file, damaged, a volume, or beyond any mammogram's size.
    """
    try:
        with open_regular(path) as file:
            return _decode(_inflated(file))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise refusal(Reason.UNDECODABLE) from error
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error


def _inflated(file: IO[bytes]) -> IO[bytes]:
    compressed = file.read(len(GZIP)) == GZIP
    file.seek(0)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if compressed else file


def _version(start: bytes) -> Any:
    """nibabel's class for a file that begins like this; None if it is no NIfTI file."""
    if start[4:12] == b"n+2\0\r\n\x1a\n":
        return nibabel.Nifti2Image
    return nibabel.Nifti1Image if start[344:348] == b"n+1\0" else None


def _decode(file: IO[bytes]) -> npt.NDArray[Any]:
    start = file.read(HEADER_SIZE_2)
    version = _version(start)
    if version is None:
        raise refusal(Reason.UNDECODABLE)
    try:
        header = version.header_class(start[: version.header_class.template_dtype.itemsize])
        shape, dtype = header.get_data_shape(), header.get_data_dtype()
        flat = len(shape) >= 2 and all(size == 1 for size in shape[2:])
        num_pixels = math.prod(shape)
        offset = header.get_data_offset()
    # A damaged header can hold anything.
    except Exception as error:
        raise refusal(Reason.UNDECODABLE) from error
    if (
        not flat
        or not 0 < num_pixels <= MAX_PIXELS
        or not 0 <= offset <= MAX_OFFSET
        or dtype.kind not in "iuf"
    ):
        raise refusal(Reason.UNDECODABLE)
    # A small file may inflate without end: no more is read than the picture needs.
    rest = file.read(max(0, offset + num_pixels * dtype.itemsize - len(start)))
    try:
        image = version.from_bytes(start + rest)
        pixels_HW: npt.NDArray[Any] = np.asanyarray(image.dataobj).reshape(shape[:2]).T
        return pixels_HW
    except Exception as error:
        raise refusal(Reason.UNDECODABLE) from error
