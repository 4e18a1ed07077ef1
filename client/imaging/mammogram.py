"""A mammogram: pixels that never travel without their geometry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt


class View(StrEnum):
    """The two screening projections that density is measured on."""

    CC = "CC"
    MLO = "MLO"


class Laterality(StrEnum):
    """Which breast, with the values of DICOM's Image Laterality (0020,0062)."""

    LEFT = "L"
    RIGHT = "R"


class Side(StrEnum):
    """A vertical edge of the pixel matrix."""

    LEFT = "left"
    RIGHT = "right"

    @property
    def opposite(self) -> Side:
        """The other edge."""
        return Side.RIGHT if self is Side.LEFT else Side.LEFT


@dataclass(frozen=True, slots=True, kw_only=True)
class Spacing:
    """Distance between the centres of neighbouring pixels in the plane of the breast.

    Attributes
    ----------
    row_mm
        Between rows, that is along a column.
    column_mm
        Between columns, that is along a row.
    """

    row_mm: float
    column_mm: float

    @property
    def pixel_area_mm2(self) -> float:
        """Area that one pixel covers."""
        return self.row_mm * self.column_mm


@dataclass(frozen=True, slots=True, kw_only=True)
class Mammogram:
    """One projection of one breast as a reader would see it.

    Attributes
    ----------
    pixels_HW
        float32, finite, after modality and VOI transformation; dense tissue is bright and padding is the
        darkest value. Orientation as in the file.
    spacing
        None when the file does not say how large a pixel is in the patient.
    chest_wall
        Edge at which the file says the chest wall lies; None when it does not say.
    manufacturer
        Name from the closed list of the intake, never the header's own text.
    """

    pixels_HW: npt.NDArray[np.float32]
    spacing: Spacing | None = None
    laterality: Laterality | None = None
    view: View | None = None
    chest_wall: Side | None = None
    manufacturer: str | None = None

    def __post_init__(self) -> None:
        assert self.pixels_HW.ndim == 2
        assert self.pixels_HW.dtype == np.float32
