"""Gaussian random fields with a power-law spectrum: the texture of breast tissue.

Mammograms follow a power spectrum of about `f ** -3` (Burgess et al., Med Phys 28:419, 2001).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A pixel grid in millimetres; the origin is the top of the chest wall, x runs away from it.

    Attributes
    ----------
    height_px, width_px
        Number of rows and columns.
    spacing_mm
        Distance of neighbouring pixel centres, the same along both axes.
    """

    height_px: int
    width_px: int
    spacing_mm: float

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.height_px, self.width_px

    @property
    def y_mm(self) -> FloatImage:
        """Pixel centres of the rows, as a column."""
        centres = (np.arange(self.height_px, dtype=np.float32) + 0.5) * np.float32(self.spacing_mm)
        return centres[:, None]

    @property
    def x_mm(self) -> FloatImage:
        """Pixel centres of the columns, as a row."""
        centres = (np.arange(self.width_px, dtype=np.float32) + 0.5) * np.float32(self.spacing_mm)
        return centres[None, :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """Shape of an anisotropic power spectrum.

    Attributes
    ----------
    beta
        Exponent: power falls as `f ** -beta`.
    anisotropy
        How much longer structures are along `angle_deg` than across it; 1 is isotropic.
    angle_deg
        Direction of the long axis, from the x axis, clockwise as displayed.
    band_mm
        Shortest and longest structure that is kept (soft limits), or None for all.
    """

    beta: float
    anisotropy: float = 1.0
    angle_deg: float = 0.0
    band_mm: tuple[float, float] | None = None


def power_law_field(rng: np.random.Generator, grid: Grid, spectrum: Spectrum) -> FloatImage:
    """A zero-mean, unit-variance Gaussian field on the grid with the given spectrum."""
    angle = math.radians(spectrum.angle_deg)
    stretch = math.sqrt(spectrum.anisotropy)
    fy = fft.fftfreq(grid.height_px, grid.spacing_mm).astype(np.float32)[:, None]
    fx = fft.rfftfreq(grid.width_px, grid.spacing_mm).astype(np.float32)[None, :]
    along = (fx * math.cos(angle) + fy * math.sin(angle)) * stretch
    across = (fy * math.cos(angle) - fx * math.sin(angle)) / stretch
    squared = np.maximum(
        along * along + across * across, (1.0 / (4 * max(grid.shape) * grid.spacing_mm)) ** 2
    )
    amplitude = squared ** np.float32(-spectrum.beta / 4)
    if spectrum.band_mm is not None:
        shortest, longest = spectrum.band_mm
        amplitude *= np.exp(-squared * np.float32(shortest**2)) * -np.expm1(-squared * np.float32(longest**2))
    amplitude[0, 0] = 0.0
    noise = fft.rfft2(rng.standard_normal(grid.shape, dtype=np.float32))
    field: FloatImage = fft.irfft2(noise * amplitude, s=grid.shape)
    field /= field.std()
    return field
