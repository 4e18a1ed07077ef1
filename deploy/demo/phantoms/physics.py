"""From anatomy to the image that a reader sees: attenuation, photon noise and presentation processing.

Linear attenuation coefficients are those at 20 keV (ICRU-44; Johns and Yaffe, Phys Med Biol 32:675, 1987).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from deploy.demo.phantoms.anatomy import Anatomy, Tissue
from deploy.demo.phantoms.fields import FloatImage, Grid

FAT_PER_MM = 0.0456
GLAND_PER_MM = 0.0802
MUSCLE_PER_MM = 0.0820
SKIN_PER_MM = 0.0800
SKIN_MM = 1.5
CORE_MM = 8.0
EQUALISATION_MM = 4.0


def expose(
    rng: np.random.Generator,
    grid: Grid,
    anatomy: Anatomy,
    thickness_mm: float,
    native_spacing_mm: float,
) -> FloatImage:
    """Attenuation (minus log transmission) as the detector measured it, with photon noise; 0 in air.

    The photons per pixel are drawn for the detector's own pixel and scaled to the grid's larger one;
    without that the noise flattens the power spectrum.
    """
    thickness = _chord(anatomy.skin_distance_HW, thickness_mm / 2)
    inner = _chord(anatomy.skin_distance_HW - SKIN_MM, thickness_mm / 2 - SKIN_MM)
    gland, muscle = anatomy.gland_fraction_HW, anatomy.muscle_fraction_HW
    mu = (
        FAT_PER_MM
        + (GLAND_PER_MM - FAT_PER_MM) * gland * (1 - muscle)
        + (MUSCLE_PER_MM - FAT_PER_MM) * muscle
    )
    attenuation = inner * mu + (thickness - inner) * SKIN_PER_MM
    photons = rng.uniform(2500, 6000) * (grid.spacing_mm / native_spacing_mm) ** 2
    inside = anatomy.labels_HW != Tissue.BACKGROUND
    detected = rng.poisson(photons * np.exp(-attenuation[inside]))
    measured = np.zeros(grid.shape, dtype=np.float32)
    measured[inside] = np.log(photons / np.maximum(detected, 1))
    return measured


def present(
    rng: np.random.Generator, grid: Grid, anatomy: Anatomy, measured: FloatImage, thickness_mm: float
) -> FloatImage:
    """Processed image for a reader: 0 is air, 1 the brightest tissue."""
    inside = anatomy.labels_HW != Tissue.BACKGROUND
    thickness = _blur(_chord(anatomy.skin_distance_HW, thickness_mm / 2), EQUALISATION_MM, grid)
    coverage = np.maximum(_blur(inside.astype(np.float32), EQUALISATION_MM, grid), 0.05)
    thinner_mm: FloatImage = np.maximum(np.float32(thickness_mm) - thickness / coverage, 0)
    equalised = measured + np.float32(0.85 * FAT_PER_MM) * thinner_mm
    sharpened: FloatImage = equalised + np.float32(rng.uniform(0.2, 0.6)) * (
        equalised - _blur(equalised, 2.0, grid)
    )
    breast = inside & (anatomy.labels_HW != Tissue.PECTORAL)
    core = sharpened[breast & (anatomy.skin_distance_HW > CORE_MM)]
    low, high = (float(level) for level in np.percentile(core, (0.5, 99.9)))
    shown = np.maximum(0.18 + 0.72 * (sharpened - low) / (high - low), 0.03)
    shown_HW: FloatImage = np.where(shown > 0.8, 0.8 + 0.2 * np.tanh((shown - 0.8) / 0.2), shown)
    shown_HW[~inside] = 0
    return shown_HW


def _chord(depth_mm: FloatImage, radius_mm: float) -> FloatImage:
    """Thickness of a slab with a round margin, at a depth behind the margin."""
    rest = np.clip(1 - depth_mm / np.float32(radius_mm), 0, 1)
    chord: FloatImage = 2 * np.float32(radius_mm) * np.sqrt(1 - rest * rest)
    return chord


def _blur(image: FloatImage, sigma_mm: float, grid: Grid) -> FloatImage:
    """Nearly Gaussian: three box averages, whose cost does not grow with their width."""
    sigma_px = sigma_mm / grid.spacing_mm
    side_px = 2 * round((math.sqrt(4 * sigma_px**2 + 1) - 1) / 2) + 1
    for _ in range(3):
        image = ndimage.uniform_filter(image, side_px, mode="nearest")
    return image
