"""Distances between outlines: Hausdorff; its 95th percentile as Huttenlocher et al., IEEE TPAMI 15 (1993).

Axes: H rows, W columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]

PERCENTILE = 95


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceDistance:
    """How far two outlines lie apart: the larger of both ways, in the unit of the spacing.

    Attributes
    ----------
    percentile_95
        95 % of one outline's pixels are within this of the other outline.
    maximum
        All are: the Hausdorff distance.
    """

    percentile_95: float
    maximum: float


def surface_distance(
    measured_HW: Mask, expert_HW: Mask, spacing: tuple[float, float] = (1.0, 1.0)
) -> SurfaceDistance:
    """Distances between the outlines of two masks: 0 if both are empty, the image's diagonal if one is.

    Parameters
    ----------
    spacing
        Of rows and columns.
    """
    if not measured_HW.any() or not expert_HW.any():
        is_far = measured_HW.any() or expert_HW.any()
        apart = math.hypot(*(size * step for size, step in zip(measured_HW.shape, spacing, strict=True)))
        return SurfaceDistance(percentile_95=apart * is_far, maximum=apart * is_far)
    box = _box(measured_HW | expert_HW)
    measured_HW, expert_HW = _outline(measured_HW[box]), _outline(expert_HW[box])
    ways = (_distances(measured_HW, expert_HW, spacing), _distances(expert_HW, measured_HW, spacing))
    return SurfaceDistance(
        percentile_95=max(float(np.percentile(way, PERCENTILE)) for way in ways),
        maximum=max(float(way.max()) for way in ways),
    )


def _box(mask_HW: Mask) -> tuple[slice, slice]:
    """The rows and columns that a mask takes; nothing outside them bears on a distance."""
    rows, columns = (np.flatnonzero(mask_HW.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _outline(mask_HW: Mask) -> Mask:
    """The pixels of a mask that touch a pixel outside it, or the image's border, with an edge."""
    outline_HW: Mask = mask_HW & ~ndimage.binary_erosion(mask_HW)
    return outline_HW


def _distances(from_HW: Mask, to_HW: Mask, spacing: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Of each pixel of one outline to the nearest of the other."""
    away_HW: npt.NDArray[np.float64] = ndimage.distance_transform_edt(~to_HW, sampling=spacing)
    return away_HW[from_HW]
