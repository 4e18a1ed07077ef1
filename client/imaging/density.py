"""Percent density and what is derived from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from client.imaging.example import Drawn, Label
from client.imaging.mammogram import Spacing
from shared.bands import BANDS, CUT_POINTS_PERCENT, Band


@dataclass(frozen=True, slots=True, kw_only=True)
class Density:
    """Density of one projection.

    Attributes
    ----------
    percent_density
        Dense area over breast area without the pectoral muscle, in %.
    breast_area_mm2, dense_area_mm2
        None when the pixel spacing is unknown; the breast is counted without the pectoral muscle.
    """

    percent_density: float
    breast_area_mm2: float | None
    dense_area_mm2: float | None

    @property
    def band(self) -> Band:
        """The uncalibrated band of this percent density."""
        return density_band(self.percent_density)


def measure_density(labels_HW: npt.NDArray[np.uint8], spacing: Spacing | None) -> Density | None:
    """Measure a label map with the spacing of its own pixels.

    None where it shows no breast, or leaves open how large the breast or the dense tissue is.
    """
    if not Drawn.on(labels_HW).density:
        return None
    pixels = np.bincount(labels_HW.ravel(), minlength=len(Label))
    dense_px = int(pixels[Label.DENSE])
    breast_px = dense_px + int(pixels[Label.ADIPOSE])
    if breast_px == 0:
        return None
    area_mm2 = None if spacing is None else spacing.pixel_area_mm2
    return Density(
        percent_density=100.0 * dense_px / breast_px,
        breast_area_mm2=None if area_mm2 is None else breast_px * area_mm2,
        dense_area_mm2=None if area_mm2 is None else dense_px * area_mm2,
    )


def density_band(percent_density: float) -> Band:
    """Band a (fatty) to d (dense) by `CUT_POINTS_PERCENT`; a value on a cut-point is in the denser band."""
    return BANDS[sum(percent_density >= cut for cut in CUT_POINTS_PERCENT)]


def bands_in_words() -> str:
    """The bands with their cut-points on one line, for people."""
    b, c, d = CUT_POINTS_PERCENT
    return f"uncalibrated: a below {b:g} %, b from {b:g} %, c from {c:g} %, d from {d:g} %"
