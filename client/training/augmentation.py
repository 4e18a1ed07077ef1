"""Random changes of a batch that a mammogram could have shown anyway.

The way of exposing, digitising and displaying varies between hospitals: gamma, contrast, tone curve and
noise. So does positioning: small rotations, scale and shifts. Nothing is mirrored: the chest wall is at the
left and the pectoral muscle above in every prepared MLO view. Everything is done on whole batches, so that it
costs little beside the network.

Axes: N images, C channels, H rows, W columns, K knots of a tone curve.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from client.training.dataset import Batch

MAX_ROTATION_DEG = 10.0
SCALE_RANGE = (0.9, 1.1)
MAX_SHIFT = 0.05
GAMMA_RANGE = (0.75, 1.33)
CONTRAST_RANGE = (0.85, 1.15)
NUM_KNOTS = 7
KNOT_SPREAD = 0.03
MAX_NOISE = 0.04


def augment(batch: Batch, generator: torch.Generator) -> Batch:
    """A changed copy of a batch; the image stays in [0, 1] and its zeros outside the breast stay zero.

    Parameters
    ----------
    batch
        Images and labels, on any device.
    generator
        A generator of the CPU, so that a seed means the same changes on every device.
    """
    moved = _move(batch, generator)
    image_NCHW = _retone(moved.image_NCHW, generator)
    return Batch(image_NCHW=_add_noise(image_NCHW, generator), labels_NHW=moved.labels_NHW)


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _move(batch: Batch, generator: torch.Generator) -> Batch:
    """Rotate, scale and shift; what moves in from outside repeats the edge, as at the chest wall."""
    num_images, _, height, width = batch.image_NCHW.shape
    angle_N = _uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG, (num_images,), generator) * (math.pi / 180.0)
    zoom_N = 1.0 / _uniform(*SCALE_RANGE, (num_images,), generator)
    shift_N2 = _uniform(-2.0 * MAX_SHIFT, 2.0 * MAX_SHIFT, (num_images, 2), generator)
    cosine_N, sine_N = torch.cos(angle_N) * zoom_N, torch.sin(angle_N) * zoom_N
    row_x_N3 = torch.stack([cosine_N, -sine_N * (height / width), shift_N2[:, 0]], dim=1)
    row_y_N3 = torch.stack([sine_N * (width / height), cosine_N, shift_N2[:, 1]], dim=1)
    transform_N23 = torch.stack([row_x_N3, row_y_N3], dim=1).to(batch.image_NCHW.device)
    grid_NHW2 = functional.affine_grid(transform_N23, [num_images, 1, height, width], align_corners=False)
    image_NCHW = functional.grid_sample(
        batch.image_NCHW, grid_NHW2, mode="bilinear", padding_mode="border", align_corners=False
    )
    labels_NCHW = functional.grid_sample(
        batch.labels_NHW[:, None].float(),
        grid_NHW2,
        mode="nearest",
        padding_mode="border",
        align_corners=False,
    )
    return Batch(image_NCHW=image_NCHW, labels_NHW=labels_NCHW[:, 0].to(torch.uint8))


def _retone(image_NCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Apply a random rising tone curve per image: gamma, contrast about the middle, shifted knots.

    The knots are the idea of MONAI's RandHistogramShift: a stand-in for vendors' look-up tables.
    """
    num_images = image_NCHW.shape[0]
    gamma_N1 = torch.exp(
        _uniform(math.log(GAMMA_RANGE[0]), math.log(GAMMA_RANGE[1]), (num_images, 1), generator)
    )
    contrast_N1 = _uniform(*CONTRAST_RANGE, (num_images, 1), generator)
    position_K = torch.linspace(0.0, 1.0, NUM_KNOTS)
    tone_NK = (position_K.expand(num_images, -1) ** gamma_N1 - 0.5) * contrast_N1 + 0.5
    tone_NK = tone_NK + KNOT_SPREAD * torch.randn(tone_NK.shape, generator=generator)
    tone_NK = tone_NK.cummax(dim=1).values.clamp(0.0, 1.0).to(image_NCHW.device)
    tone_NK[:, 0] = 0.0
    place_NP = image_NCHW.flatten(1) * (NUM_KNOTS - 1)
    left_NP = place_NP.long().clamp(max=NUM_KNOTS - 2)
    low_NP, high_NP = tone_NK.gather(1, left_NP), tone_NK.gather(1, left_NP + 1)
    return torch.lerp(low_NP, high_NP, place_NP - left_NP).view_as(image_NCHW)


def _add_noise(image_NCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Add white noise of a random strength inside the breast."""
    strength_N111 = _uniform(0.0, MAX_NOISE, (image_NCHW.shape[0], 1, 1, 1), generator)
    noise_NCHW = (torch.randn(image_NCHW.shape, generator=generator) * strength_N111).to(image_NCHW.device)
    return torch.where(image_NCHW > 0, (image_NCHW + noise_NCHW).clamp(0.0, 1.0), image_NCHW)
