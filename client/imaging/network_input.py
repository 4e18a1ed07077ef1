"""The one door between prepared pictures and networks: same scale and padding in training and use.

Shape suffixes: N batch, C channel, H height, W width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from client.imaging.preparation import FULL_SCALE
from client.imaging.resample import Scalar, resize_image, resize_labels


def fit(image_HW: npt.NDArray[np.uint16], height: int, width: int) -> torch.Tensor:
    """A prepared picture as network input.

    Resized to fit with its proportions kept, then padded with zeros below and at the right, so that the
    chest wall stays at the left edge.

    Returns
    -------
    torch.Tensor
        float32, 1 x `height` x `width`, in [0, 1].
    """
    inner_height, inner_width = _inner(image_HW.shape, height, width)
    image = resize_image(image_HW.astype(np.float32), inner_height, inner_width)
    fitted = torch.zeros((1, height, width))
    fitted[0, :inner_height, :inner_width] = torch.from_numpy(image)
    return (fitted / FULL_SCALE).clamp_(0, 1)


def fit_labels(labels_HW: npt.NDArray[Scalar], height: int, width: int) -> npt.NDArray[Scalar]:
    """A label map at the scale and padding of `fit`: same dtype, `height` x `width`, zero padding."""
    inner_height, inner_width = _inner(labels_HW.shape, height, width)
    fitted = np.zeros((height, width), labels_HW.dtype)
    fitted[:inner_height, :inner_width] = resize_labels(labels_HW, inner_height, inner_width)
    return fitted


def unfit(scores_CHW: torch.Tensor, source_height: int, source_width: int) -> torch.Tensor:
    """Network output (logits or probabilities) brought back onto the prepared picture.

    Returns
    -------
    torch.Tensor
        float32, C x `source_height` x `source_width`; decide between classes after this, not before.
    """
    _, height, width = scores_CHW.shape
    inner_height, inner_width = _inner((source_height, source_width), height, width)
    inner_NCHW = scores_CHW[None, :, :inner_height, :inner_width].float()
    return functional.interpolate(
        inner_NCHW, size=(source_height, source_width), mode="bilinear", align_corners=False
    )[0]


def _inner(source_shape: tuple[int, ...], height: int, width: int) -> tuple[int, int]:
    """Rows and columns that the picture takes of the network's input."""
    scale = min(height / source_shape[0], width / source_shape[1])
    return (
        min(height, max(1, round(source_shape[0] * scale))),
        min(width, max(1, round(source_shape[1] * scale))),
    )
