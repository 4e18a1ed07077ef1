"""Changing the number of pixels: images smoothly and without aliasing, label maps by nearest neighbour.

Both use the convention that pixel centres lie at half-integers, so an image and its label map stay
registered whatever the scale.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

Scalar = TypeVar("Scalar", bound=np.generic)


def resize_image(image_HW: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """Bilinear, with an antialiasing kernel when the image shrinks; values stay in their range."""
    if image_HW.shape == (height, width):
        return image_HW
    image_NCHW = torch.from_numpy(np.ascontiguousarray(image_HW))[None, None]
    resized_NCHW = functional.interpolate(
        image_NCHW, size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )
    resized: npt.NDArray[np.float32] = resized_NCHW[0, 0].numpy()
    return resized


def resize_labels(labels_HW: npt.NDArray[Scalar], height: int, width: int) -> npt.NDArray[Scalar]:
    """Nearest neighbour; no class appears that was not there."""
    rows = _nearest(labels_HW.shape[0], height)
    columns = _nearest(labels_HW.shape[1], width)
    return labels_HW[rows[:, None], columns[None, :]]


def _nearest(source: int, target: int) -> npt.NDArray[np.int64]:
    return np.minimum(((np.arange(target) + 0.5) * source / target).astype(np.int64), source - 1)
