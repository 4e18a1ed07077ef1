"""One phantom mammogram, as its maker would have stored it, with the truth per pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy.fft import next_fast_len

from deploy.demo.phantoms.anatomy import (
    DensityCategory,
    Tissue,
    View,
    draw_physique,
    grow,
    percent_density,
    working_width_mm,
)
from deploy.demo.phantoms.fields import FloatImage, Grid
from deploy.demo.phantoms.physics import expose, present
from deploy.demo.phantoms.vendors import Vendor

Laterality = Literal["L", "R"]

STREAMS: dict[tuple[Laterality, View], int] = {
    ("L", "CC"): 1,
    ("R", "CC"): 2,
    ("L", "MLO"): 3,
    ("R", "MLO"): 4,
}
COLLIMATED_MM = 2.0
MARKER_MM = 7.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Phantom:
    """A phantom mammogram in the orientation in which it is displayed.

    Attributes
    ----------
    stored_HW
        uint16 values as `vendor` stores them; the chest wall is at the left edge of a left breast and at
        the right edge of a right one.
    labels_HW
        uint8, 0 background, 1 adipose, 2 dense, 3 pectoral.
    thickness_mm
        Of the compressed breast.
    target_percent_density, percent_density
        The aim and what the label map holds, in %.
    """

    stored_HW: npt.NDArray[np.uint16]
    labels_HW: npt.NDArray[np.uint8]
    spacing_mm: float
    view: View
    laterality: Laterality
    vendor: Vendor
    density_category: DensityCategory
    thickness_mm: float
    target_percent_density: float
    percent_density: float


def make_phantom(
    seed: int,
    *,
    density_category: DensityCategory,
    view: View,
    laterality: Laterality,
    vendor: Vendor,
    spacing_mm: float = 0.25,
    marker: bool = True,
) -> Phantom:
    """Make one view of a woman's breast.

    Parameters
    ----------
    seed
        Of the woman: her views share size, thickness and density and differ in texture.
    spacing_mm
        Pixel spacing of the image; the field is the vendor's, so that larger is fewer pixels.
    marker
        Burn the view's marker ("R-MLO") into the pixels, in the air beside the breast.
    """
    physique = draw_physique(np.random.default_rng([seed, 0]), density_category)
    rng = np.random.default_rng([seed, STREAMS[laterality, view]])
    height_px, width_px = (round(side_mm / spacing_mm) for side_mm in vendor.field_mm)
    working_px = next_fast_len(round(working_width_mm(physique) / spacing_mm), real=True)
    grid = Grid(height_px=height_px, width_px=min(working_px, width_px), spacing_mm=spacing_mm)
    anatomy = grow(rng, grid, physique, view)
    measured = expose(rng, grid, anatomy, physique.thickness_mm, vendor.native_spacing_mm)
    air = (0, 0), (0, width_px - grid.width_px)
    shown_HW = np.pad(present(rng, grid, anatomy, measured, physique.thickness_mm), air)
    labels_HW = np.pad(anatomy.labels_HW, air)
    if laterality == "R":
        shown_HW, labels_HW = np.fliplr(shown_HW), np.ascontiguousarray(np.fliplr(labels_HW))
    if marker:
        shown_HW = _burn_in(shown_HW, f"{laterality}-{view}", spacing_mm, laterality)
    stored_HW = vendor.store(shown_HW)
    if vendor.padding is not None:
        border = _border(labels_HW.shape, spacing_mm, laterality) & (labels_HW == Tissue.BACKGROUND)
        stored_HW[border] = rng.integers(*vendor.padding, size=int(border.sum()), endpoint=True)
    return Phantom(
        stored_HW=stored_HW,
        labels_HW=labels_HW,
        spacing_mm=spacing_mm,
        view=view,
        laterality=laterality,
        vendor=vendor,
        density_category=density_category,
        thickness_mm=physique.thickness_mm,
        target_percent_density=physique.percent_density,
        percent_density=percent_density(labels_HW),
    )


def _burn_in(shown_HW: FloatImage, text: str, spacing_mm: float, laterality: Laterality) -> FloatImage:
    """The image with a marker in the upper corner away from the chest wall."""
    font = ImageFont.load_default(size=MARKER_MM / spacing_mm)
    image = Image.fromarray(shown_HW)
    anchor, at_mm = ("ra", shown_HW.shape[1] * spacing_mm - 8) if laterality == "L" else ("la", 8.0)
    at_px = at_mm / spacing_mm, 10 / spacing_mm
    ImageDraw.Draw(image).text(at_px, text, fill=1.0, font=font, anchor=anchor)
    return np.array(image)


def _border(shape: tuple[int, ...], spacing_mm: float, laterality: Laterality) -> npt.NDArray[np.bool_]:
    """The strip that the collimator covers, on the three sides away from the chest wall."""
    strip = round(COLLIMATED_MM / spacing_mm)
    covered = np.zeros(shape, dtype=np.bool_)
    covered[:strip] = covered[-strip:] = True
    covered[:, -strip:] = True
    return covered if laterality == "L" else np.fliplr(covered)
