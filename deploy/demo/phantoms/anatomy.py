"""The anatomy of a compressed breast seen from the X-ray tube: outline, thickness, muscle and gland.

Everything here is a left breast with the chest wall at x = 0; `phantom` mirrors right ones. Parameters
of one woman (`Physique`) are shared by all her views, the tissue's texture is drawn per view.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import expit

from deploy.demo.phantoms.fields import FloatImage, Grid, Spectrum, power_law_field

View = Literal["CC", "MLO"]
DensityCategory = Literal["a", "b", "c", "d"]
Mask = npt.NDArray[np.bool_]

PERCENT_DENSITY_RANGES: dict[DensityCategory, tuple[float, float]] = {
    "a": (2.0, 12.0),
    "b": (12.0, 28.0),
    "c": (28.0, 52.0),
    "d": (52.0, 80.0),
}
MASK_SMOOTHNESS_MM = 1.2
JOIN_MM = 12.0
TISSUE_AXIS_DEG: dict[View, float] = {"CC": 5.0, "MLO": 22.5}


class Tissue(IntEnum):
    """Value of a pixel in a phantom's label map."""

    BACKGROUND = 0
    ADIPOSE = 1
    DENSE = 2
    PECTORAL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Physique:
    """What all views of one woman have in common.

    Attributes
    ----------
    depth_mm
        From the chest wall to the nipple.
    half_height_mm
        From the nipple's level to where the outline meets the chest wall.
    exponent
        Of the super-ellipse that the outline follows.
    thickness_mm
        Of the breast under the paddle.
    beta
        Exponent of the gland's power spectrum.
    fat_layer_mm
        Subcutaneous fat between skin and gland.
    percent_density
        Aim: dense area over breast area without the pectoral muscle, in %.
    """

    depth_mm: float
    half_height_mm: float
    exponent: float
    thickness_mm: float
    beta: float
    fat_layer_mm: float
    percent_density: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """One view of a breast before it meets the X-rays.

    Attributes
    ----------
    labels_HW
        uint8 `Tissue` per pixel.
    skin_distance_HW
        mm to the nearest point of the skin line; 0 outside the breast.
    gland_fraction_HW
        Share of fibroglandular tissue along the ray, 0 to 1.
    muscle_fraction_HW
        Share of pectoral muscle along the ray, 0 to 1.
    """

    labels_HW: npt.NDArray[np.uint8]
    skin_distance_HW: FloatImage
    gland_fraction_HW: FloatImage
    muscle_fraction_HW: FloatImage


def draw_physique(rng: np.random.Generator, density_category: DensityCategory) -> Physique:
    """Draw a woman whose density lies within the category's range."""
    size = rng.uniform()
    low, high = PERCENT_DENSITY_RANGES[density_category]
    return Physique(
        depth_mm=70 + 60 * float(np.clip(size + rng.normal(0, 0.12), 0, 1)),
        half_height_mm=75 + 35 * float(np.clip(size + rng.normal(0, 0.12), 0, 1)),
        exponent=rng.uniform(1.9, 2.4),
        thickness_mm=rng.uniform(35, 75),
        beta=float(np.clip(rng.normal(3.1, 0.25), 2.6, 3.6)),
        fat_layer_mm=rng.uniform(3, 9),
        percent_density=rng.uniform(low, high),
    )


def working_width_mm(physique: Physique) -> float:
    """Width of a grid that holds the breast and some air beside it."""
    return 1.1 * physique.depth_mm + 8


def grow(rng: np.random.Generator, grid: Grid, physique: Physique, view: View) -> Anatomy:
    """Draw one view of a breast.

    The dense label is where the gland's smoothed field exceeds the quantile that gives the aimed density;
    the gland itself follows the rough field, so that its border is as frayed as a real one.
    """
    nipple_mm = (
        grid.height_px
        * grid.spacing_mm
        * (rng.uniform(0.47, 0.53) if view == "CC" else rng.uniform(0.57, 0.65))
    )
    outline_mm = _outline(rng, grid, physique, view, nipple_mm)
    inside = grid.x_mm < outline_mm[:, None]
    pectoral_mm = (
        _pectoral_edge(rng, grid, physique, outline_mm) if view == "MLO" else np.zeros_like(outline_mm)
    )
    muscle = grid.x_mm < pectoral_mm[:, None]
    breast = inside & ~muscle
    skin_distance: FloatImage = ndimage.distance_transform_edt(inside, sampling=grid.spacing_mm).astype(
        np.float32
    )

    nipple = float(outline_mm.max()), nipple_mm
    field = _gland_field(rng, grid, physique, view, nipple, skin_distance, pectoral_mm)
    smooth = ndimage.gaussian_filter(field, MASK_SMOOTHNESS_MM / grid.spacing_mm)
    threshold = float(np.quantile(smooth[breast], 1 - physique.percent_density / 100))
    labels = np.where(breast, Tissue.ADIPOSE, Tissue.BACKGROUND).astype(np.uint8)
    labels[breast & (smooth > threshold)] = Tissue.DENSE
    labels[muscle & inside] = Tissue.PECTORAL
    depth_mm = pectoral_mm[:, None] - grid.x_mm
    muscle_fraction = inside * expit(depth_mm / 0.6) * (0.70 - 0.35 * np.exp(-np.maximum(depth_mm, 0) / 15))
    muscle_fraction[pectoral_mm == 0] = 0
    return Anatomy(
        labels_HW=labels,
        skin_distance_HW=skin_distance,
        gland_fraction_HW=_gland_fraction(rng, grid, physique, nipple, field - threshold),
        muscle_fraction_HW=muscle_fraction.astype(np.float32),
    )


def percent_density(labels_HW: npt.NDArray[np.uint8]) -> float:
    """Dense area over breast area without the pectoral muscle, in %."""
    dense = np.count_nonzero(labels_HW == Tissue.DENSE)
    return 100.0 * dense / (dense + np.count_nonzero(labels_HW == Tissue.ADIPOSE))


def _outline(
    rng: np.random.Generator, grid: Grid, physique: Physique, view: View, nipple_mm: float
) -> FloatImage:
    """The skin's distance from the chest wall per row, in mm."""
    y = grid.y_mm[:, 0]
    height = grid.height_px * grid.spacing_mm
    hidden = physique.depth_mm * rng.uniform(0.04, 0.16)
    above = physique.half_height_mm * (rng.uniform(0.95, 1.05) if view == "CC" else 1.25)
    below = min(physique.half_height_mm * rng.uniform(0.95, 1.05), (height - nipple_mm) * 1.05)
    reach = np.abs(y - nipple_mm) / np.where(y < nipple_mm, above, below)
    exponent = np.where((y < nipple_mm) & (view == "MLO"), 0.8, 1.0) * physique.exponent
    bulge = (1 - np.minimum(reach, 1) ** exponent) ** (1 / exponent)
    outline = (physique.depth_mm + hidden) * bulge - hidden
    if view == "MLO":
        tail = physique.depth_mm * rng.uniform(0.5, 0.7) + y * rng.uniform(-0.05, 0.12)
        tail *= expit((nipple_mm - 0.35 * above - y) / (0.15 * above))
        joined = JOIN_MM * np.logaddexp(outline / JOIN_MM, tail / JOIN_MM)
        outline = np.where(y < nipple_mm, joined, outline)
    wobble = power_law_field(
        rng,
        Grid(height_px=grid.height_px, width_px=2, spacing_mm=grid.spacing_mm),
        Spectrum(beta=3.0, band_mm=(22.0, 140.0)),
    )[:, 0]
    outline = outline * (1 + 0.02 * wobble)
    nipple = rng.uniform(0, 4) * np.exp(-0.5 * ((y - nipple_mm) / 5) ** 2)
    widest_mm = (grid.width_px - 2) * grid.spacing_mm
    outline_mm: FloatImage = np.minimum(outline + nipple, widest_mm).astype(np.float32)
    return outline_mm


def _pectoral_edge(
    rng: np.random.Generator, grid: Grid, physique: Physique, outline_mm: FloatImage
) -> FloatImage:
    """The pectoral muscle's anterior edge per row, in mm from the chest wall; 0 below the muscle."""
    height = grid.height_px * grid.spacing_mm * rng.uniform(0.45, 0.75)
    width = min(physique.depth_mm * rng.uniform(0.35, 0.65), 0.85 * float(outline_mm[0]))
    down = np.clip(grid.y_mm[:, 0] / height, 0, 1)
    edge = width * (1 - down + rng.uniform(-0.12, 0.12) * 4 * down * (1 - down))
    edge_mm: FloatImage = np.clip(np.minimum(edge, outline_mm - 6), 0, None).astype(np.float32)
    edge_mm[down == 1] = 0
    return edge_mm


def _gland_field(
    rng: np.random.Generator,
    grid: Grid,
    physique: Physique,
    view: View,
    nipple: tuple[float, float],
    skin_distance: FloatImage,
    pectoral_mm: FloatImage,
) -> FloatImage:
    """Where gland is likely: a power-law field over a disc behind the nipple, less under skin and muscle."""
    spectrum = Spectrum(
        beta=physique.beta,
        anisotropy=rng.uniform(1.1, 1.5),
        angle_deg=TISSUE_AXIS_DEG[view],
        band_mm=(0.5, 50.0),
    )
    x, y = grid.x_mm, grid.y_mm
    centre_x = physique.depth_mm * rng.uniform(0.55, 0.65)
    centre_y = nipple[1] - (0.0 if view == "CC" else 0.15 * physique.half_height_mm)
    disc = np.hypot(
        (x - centre_x) / (0.5 * physique.depth_mm), (y - centre_y) / (0.6 * physique.half_height_mm)
    )
    under_skin = 4.0 * expit((physique.fat_layer_mm - skin_distance) / 1.2)
    behind = 1.2 * np.exp(-np.maximum(x - pectoral_mm[:, None], 0) / 7.0)
    field: FloatImage = power_law_field(rng, grid, spectrum) - 1.6 * disc * disc - under_skin - behind
    return field


def _gland_fraction(
    rng: np.random.Generator,
    grid: Grid,
    physique: Physique,
    nipple: tuple[float, float],
    excess: FloatImage,
) -> FloatImage:
    """Share of gland along the ray: high where the field exceeds its threshold, strands elsewhere."""
    variation = power_law_field(rng, grid, Spectrum(beta=3.2, band_mm=(0.3, 32.0)))
    strands = power_law_field(rng, grid, Spectrum(beta=physique.beta, band_mm=(0.3, 40.0)))
    ligaments = _converging_ridges(rng, grid, nipple) * expit(2 * strands + 0.7)
    dense = expit(excess / 0.50)
    gland = rng.uniform(0.45, 0.65) * np.exp(0.30 * variation - 0.045) * (0.9 + 0.30 * ligaments)
    fat = np.maximum(0.05 + 0.035 * strands, 0) + 0.10 * ligaments
    fraction: FloatImage = np.clip(fat + (gland - fat) * dense, 0, 1).astype(np.float32)
    return fraction


def _converging_ridges(rng: np.random.Generator, grid: Grid, nipple: tuple[float, float]) -> FloatImage:
    """Cooper's ligaments and ducts: thin bright curves, 0 to 1, that run towards the nipple.

    Zero-crossings of a band-passed field drawn in polar coordinates about the nipple.
    """
    dx, dy = grid.x_mm - np.float32(nipple[0] + 12), grid.y_mm - np.float32(nipple[1])
    radius_px = np.hypot(dx, dy) / (1.6 * grid.spacing_mm)
    arc_px = np.arctan2(dy, -dx) * (55.0 / grid.spacing_mm)
    ridges = np.zeros(grid.shape, dtype=np.float32)
    for band_mm, weight in (((1.5, 9.0), 0.45), ((3.0, 25.0), 0.75)):
        waves = power_law_field(rng, grid, Spectrum(beta=3.0, band_mm=band_mm))
        warped = ndimage.map_coordinates(waves, (arc_px, radius_px), order=1, mode="grid-wrap")
        ridges += np.float32(weight) * np.exp(-np.square(warped / np.float32(0.22)))
    return np.minimum(ridges, 1)
