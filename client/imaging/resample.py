"""Changing the number of pixels: images smoothly and without aliasing, label maps by nearest neighbour.

Both use the convention that pixel centres lie at half-integers, so an image and its label map stay
registered whatever the scale.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

Scalar = TypeVar("Scalar", bound=np.generic)
Box = tuple[float, float, float, float]
"""First row, first column, rows and columns; fractions of pixels are allowed."""


def resize_image(
    image_HW: npt.NDArray[np.float32], height: int, width: int, box: Box | None = None
) -> npt.NDArray[np.float32]:
    """Bilinear, with an antialiasing kernel when the image shrinks; values stay in their range.

    With a box, only that part of the image fills the result.
    """
    if box is None and image_HW.shape == (height, width):
        return image_HW
    top, left, rows, columns = box or (0, 0, *image_HW.shape)
    picture = Image.fromarray(np.ascontiguousarray(image_HW)).resize(
        (width, height), Image.Resampling.BILINEAR, box=(left, top, left + columns, top + rows)
    )
    return np.array(picture)


def resize_labels(labels_HW: npt.NDArray[Scalar], height: int, width: int) -> npt.NDArray[Scalar]:
    """Nearest neighbour; no class appears that was not there."""
    rows = nearest(np.arange(height), height, labels_HW.shape[0])
    columns = nearest(np.arange(width), width, labels_HW.shape[1])
    return labels_HW[rows[:, None], columns[None, :]]


def nearest(places: npt.NDArray[np.int64], size: int, source_size: int) -> npt.NDArray[np.int64]:
    """Places of a side of `size` pixels in one of `source_size` pixels."""
    return np.minimum(((places + 0.5) * source_size / size).astype(np.int64), source_size - 1)
