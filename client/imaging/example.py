"""One prepared mammogram with its masks: the unit that a site trains on and counts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from client.imaging.mammogram import Spacing


class Label(IntEnum):
    """Class of a pixel in a label map."""

    BACKGROUND = 0
    ADIPOSE = 1
    DENSE = 2
    PECTORAL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A prepared mammogram and its label map, if an expert has drawn one.

    Attributes
    ----------
    example_id
        Random identifier, made at intake; says nothing about the patient.
    image_HW
        uint16; chest wall at the left, cropped to the breast, in-breast percentiles 0.5 and 99.5 at 0 and
        65535, zero outside the breast.
    labels_HW
        uint8 `Label` per pixel, same shape as `image_HW`; None while there is no mask.
    spacing
        Of the prepared picture's pixels; None when it is unknown.
    """

    example_id: str
    image_HW: npt.NDArray[np.uint16]
    labels_HW: npt.NDArray[np.uint8] | None
    spacing: Spacing | None = None
