"""The door for picture files: PNG, TIFF and NIfTI, one grey value per pixel.

A picture has no header, so what it shows is unknown unless its name follows the convention of the DDSM
archives (`..RIGHT_MLO..`).
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import PHOTOMETRIC_INTERPRETATION, TiffImageFile

from client.imaging.mammogram import Laterality, Mammogram, View
from client.intake.exclusions import Reason, refusal
from client.intake.nifti import is_nifti, read_nifti
from client.intake.recognition import open_regular
from shared.errors import UndecodableError

MAX_PIXELS = 100_000_000
FORMATS = ("PNG", "TIFF")
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")
GREY_MODES = frozenset({"1", "L", "P", "I", "I;16", "I;16B"})
WHITE_IS_ZERO = 0
"""Value of a TIFF's photometric interpretation (TIFF 6.0, section 8)."""
INVERTED_BY_DECODER = {"1": 1, "L": 255}
"""Greatest value by mode, of those modes that Pillow turns round in a TIFF where white is zero."""
NAME = re.compile(r"(?<![A-Z])(?P<laterality>LEFT|RIGHT)_(?P<view>CC|MLO)(?![A-Z])", re.IGNORECASE)


def is_picture(path: Path) -> bool:
    """Whether the file begins as a PNG, TIFF or NIfTI file does.

    Raises
    ------
    IntakeError
        The file cannot be read.
    """
    return _is_png_or_tiff(path) or is_nifti(path)


def read_values(path: Path) -> npt.NDArray[Any]:
    """The values of a picture as they are stored, H x W; for a palette the indices, not the colours.

    Raises
    ------
    IntakeError
        The file cannot be read.
    UndecodableError
        It is no PNG, TIFF or NIfTI file, has colours, is damaged or beyond any mammogram's size.
    """
    return _read(path)[0]


def read_picture(path: Path) -> Mammogram:
    """A picture as a mammogram, bright where the picture is meant to be bright; raises as `read_values`."""
    values_HW, white_is_zero = _read(path)
    pixels_HW = values_HW.astype(np.float32)
    if not np.isfinite(pixels_HW).all():
        raise refusal(Reason.UNDECODABLE)
    named = NAME.search(path.name)
    return Mammogram(
        pixels_HW=pixels_HW.max() - pixels_HW if white_is_zero else pixels_HW,
        laterality=None if named is None else Laterality(named["laterality"][0].upper()),
        view=None if named is None else View(named["view"].upper()),
    )


def _is_png_or_tiff(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(8).startswith(SIGNATURES)
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error


def _read(path: Path) -> tuple[npt.NDArray[Any], bool]:
    """Stored values, and whether the greatest of them is black."""
    if not _is_png_or_tiff(path):
        return read_nifti(path), False
    try:
        with open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(file)
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error


def _decode(file: Any) -> tuple[npt.NDArray[Any], bool]:
    try:
        picture = Image.open(file, formats=FORMATS)
        if picture.mode in GREY_MODES and 0 < picture.width * picture.height <= MAX_PIXELS:
            white_is_zero = (
                isinstance(picture, TiffImageFile)
                and picture.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO
            )
            values_HW = np.asarray(picture).astype(np.int32)
            if white_is_zero and picture.mode in INVERTED_BY_DECODER:
                values_HW = INVERTED_BY_DECODER[picture.mode] - values_HW
            return values_HW, white_is_zero
        has_colours = picture.mode not in GREY_MODES
    # A damaged picture can make the decoder raise anything.
    except Exception as error:
        raise refusal(Reason.UNDECODABLE) from error
    if has_colours:
        raise UndecodableError(
            "The picture has colours.",
            "Export one grey value for each pixel; for a mask, one for each class.",
        )
    raise refusal(Reason.UNDECODABLE)
