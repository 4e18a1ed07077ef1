"""The door for picture files: PNG and TIFF, one grey value per pixel.

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

from client.imaging.mammogram import Laterality, Mammogram, View
from client.intake.exclusions import Reason, refusal

MAX_PIXELS = 100_000_000
FORMATS = ("PNG", "TIFF")
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")
GREY_MODES = frozenset({"1", "L", "P", "I", "I;16", "I;16B"})
NAME = re.compile(r"(?<![A-Z])(?P<laterality>LEFT|RIGHT)_(?P<view>CC|MLO)(?![A-Z])", re.IGNORECASE)


def is_picture(path: Path) -> bool:
    """Whether the file begins as a PNG or TIFF does.

    Raises
    ------
    IntakeError
        The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(8).startswith(SIGNATURES)
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error


def read_values(path: Path) -> npt.NDArray[Any]:
    """The integer values of a picture, H x W; for a palette the indices, not the colours.

    Raises
    ------
    IntakeError
        The file cannot be read.
    UndecodableError
        It is no PNG or TIFF, has colours, is damaged or beyond any mammogram's size.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(file)
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error


def read_picture(path: Path) -> Mammogram:
    """A picture as a mammogram; raises as `read_values`."""
    named = NAME.search(path.name)
    return Mammogram(
        pixels_HW=read_values(path).astype(np.float32),
        laterality=None if named is None else Laterality(named["laterality"][0].upper()),
        view=None if named is None else View(named["view"].upper()),
    )


def _decode(file: Any) -> npt.NDArray[Any]:
    try:
        picture = Image.open(file, formats=FORMATS)
        if picture.mode in GREY_MODES and 0 < picture.width * picture.height <= MAX_PIXELS:
            return np.asarray(picture).astype(np.int32)
    # A damaged picture can make the decoder raise anything.
    except Exception as error:
        raise refusal(Reason.UNDECODABLE) from error
    raise refusal(Reason.UNDECODABLE)
