"""Regions of one mask while they are being drawn: outlines become pixels.

Coordinates are those of LabelMe and COCO: x to the right and y downwards from the picture's upper left
corner, so that the first pixel reaches from 0 to 1 and has its centre at 0.5. A pixel belongs to a region
when its centre lies inside of the outline, by the even-odd rule. What reaches beyond the picture is cut off
at its edge.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from client.imaging.breast_mask import Mask
from client.intake.masks.layers import Layer, Regions
from client.intake.masks.mask_file import malformed

MAX_REGIONS = 2_000
MAX_FILLED = 100
"""Area that may be filled, boxes around regions counted whole, in areas of the picture."""
MAX_CROSSINGS = 5_000_000
"""Of outlines with rows of pixels, over all regions; the outline of a breast has some thousands."""
FURTHEST = 1e6
"""Coordinates beyond it, in pixels, are no reader's slip at the edge of the picture."""


class Drawing:
    """The regions of a mask, class by class.

    Parameters
    ----------
    shape
        Rows and columns of the image.
    form
        Name of the mask's form, for errors.
    """

    def __init__(self, shape: tuple[int, int], form: str) -> None:
        self._shape = shape
        self._form = form
        self._drawn: dict[Layer, Mask] = {}
        self._num_regions = 0
        self._num_filled = 0
        self._num_crossings = 0

    def declare(self, layer: Layer) -> Mask:
        """The region of a class so far, which may stay empty."""
        if layer not in self._drawn:
            self._drawn[layer] = np.zeros(self._shape, np.bool_)
        return self._drawn[layer]

    def add_region(self, layer: Layer, region_HW: Mask) -> None:
        """Add pixels to a class; raises MaskError when there are too many regions."""
        self._count_region()
        self._count_filled(region_HW.size)
        self.declare(layer)[:] |= region_HW

    def add_polygon(self, layer: Layer, vertices_N2: npt.NDArray[np.float64]) -> None:
        """Add the inside of an outline, of vertices (x, y) in order, closed by itself.

        Raises
        ------
        MaskError
            It has fewer than three vertices, or one that is no number or far outside, or is impossibly long.
        """
        self._count_region()
        if len(vertices_N2) < 3 or not (np.abs(vertices_N2) <= FURTHEST).all():
            raise malformed(self._form)
        height, width = self._shape
        x, y = vertices_N2.T
        next_x, next_y = np.roll(x, -1), np.roll(y, -1)
        # Rows whose centre an edge passes, half open, so that a vertex counts once for its two edges.
        first = np.clip(np.ceil(np.minimum(y, next_y) - 0.5), 0, height).astype(np.int64)
        end = np.clip(np.ceil(np.maximum(y, next_y) - 0.5), 0, height).astype(np.int64)
        num_rows = end - first
        self._num_crossings += int(num_rows.sum())
        if self._num_crossings > MAX_CROSSINGS:
            raise malformed(self._form)
        region_HW = self.declare(layer)
        if not num_rows.any():
            return
        edge = np.repeat(np.arange(len(x)), num_rows)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(num_rows) - num_rows, num_rows) + first[edge]
        slope = (next_x - x)[edge] / (next_y - y)[edge]
        crossing = x[edge] + (row + 0.5 - y[edge]) * slope
        column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
        top, left, right = first.min(), column.min(), column.max()
        self._count_filled((end.max() - top) * (right - left))
        # From each crossing on, the rest of the row changes sides.
        turns_HW = np.zeros((end.max() - top, right - left + 1), np.uint8)
        np.add.at(turns_HW, (row - top, column - left), 1)
        inside_HW = np.bitwise_xor.accumulate(turns_HW & 1, axis=1)[:, :-1].astype(np.bool_)
        region_HW[top : end.max(), left:right] |= inside_HW

    def regions(self) -> Regions:
        """All that was drawn."""
        return self._drawn

    def _count_region(self) -> None:
        self._num_regions += 1
        if self._num_regions > MAX_REGIONS:
            raise malformed(self._form)

    def _count_filled(self, num_pixels: int) -> None:
        self._num_filled += int(num_pixels)
        if self._num_filled > MAX_FILLED * self._shape[0] * self._shape[1]:
            raise malformed(self._form)
