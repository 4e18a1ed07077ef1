"""Random changes of a batch that a mammogram could have shown anyway.

The way of exposing, digitising and displaying varies between hospitals: gamma, contrast, tone curve and
noise. So does positioning: small rotations, scale and shifts, and the breast yields as it is compressed: a
smooth random displacement, as in the U-Net's own training (Ronneberger et al., MICCAI 2015). The chest wall
stays at the left; images are turned upside down only if the plan says so, for in MLO views the pectoral
muscle is above. Everything is done on whole batches where they lie, so that it costs little beside the
network.

Axes: N images, C channels, H rows, W columns, P pixels, K knots of a tone curve, L its levels,
R rows and C columns of displaced points.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from client.training.dataset import Batch

MAX_ROTATION_DEG = 10.0
SCALE_RANGE = (0.9, 1.1)
MAX_SHIFT = 0.05
DISPLACED_POINTS = (6, 4)
"""Rows and columns of the points that are displaced at random; cubic in between."""
DISPLACEMENT_SPREAD = 0.03
"""Standard deviation, as a share of half the side."""
GAMMA_RANGE = (0.75, 1.33)
CONTRAST_RANGE = (0.85, 1.15)
NUM_KNOTS = 7
KNOT_SPREAD = 0.03
NUM_LEVELS = 4096
"""As many as 12 bits tell apart; a batch comes from 16-bit floats, which tell fewer apart near 1."""
MAX_NOISE = 0.04


def augment(batch: Batch, generator: torch.Generator, *, flip: bool = False) -> Batch:
    """A changed copy of a batch; the image stays in [0, 1] and its zeros outside the breast stay zero.

    Parameters
    ----------
    batch
        Images and labels, on any device.
    generator
        A generator of the CPU, so that a seed means the same changes on every device; only the grains of the
        noise are the device's own.
    flip
        Turn half of the images upside down.
    """
    moved = _move(batch, generator, flip=flip)
    image_NCHW = _retone(moved.image_NCHW, generator)
    return replace(moved, image_NCHW=_add_noise(image_NCHW, generator))


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _move(batch: Batch, generator: torch.Generator, *, flip: bool) -> Batch:
    """Rotate, scale, shift, displace, flip; what moves in from outside repeats the edge."""
    num_images, _, height, width = batch.image_NCHW.shape
    angle_N = _uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG, (num_images,), generator) * (math.pi / 180.0)
    zoom_N = 1.0 / _uniform(*SCALE_RANGE, (num_images,), generator)
    shift_N2 = _uniform(-2.0 * MAX_SHIFT, 2.0 * MAX_SHIFT, (num_images, 2), generator)
    cosine_N, sine_N = torch.cos(angle_N) * zoom_N, torch.sin(angle_N) * zoom_N
    along_x_N2 = torch.stack([cosine_N, sine_N * (width / height)], dim=1)
    along_y_N2 = torch.stack([-sine_N * (height / width), cosine_N], dim=1)
    if flip:
        upright_N2 = torch.ones((num_images, 2))
        upright_N2[:, 1] -= 2.0 * torch.randint(2, (num_images,), generator=generator)
        along_x_N2, along_y_N2 = along_x_N2 * upright_N2, along_y_N2 * upright_N2
        shift_N2 = shift_N2 * upright_N2
    across_N2W = along_x_N2[:, :, None] * _centres(width)
    down_N2H = along_y_N2[:, :, None] * _centres(height) + shift_N2[:, :, None]
    device = batch.image_NCHW.device
    displaced_N2RC = DISPLACEMENT_SPREAD * torch.randn(
        (num_images, 2, *DISPLACED_POINTS), generator=generator
    )
    displaced_N2HW = functional.interpolate(
        displaced_N2RC.to(device), (height, width), mode="bicubic", align_corners=True
    )
    place_N2HW = across_N2W.to(device)[:, :, None, :] + down_N2H.to(device)[:, :, :, None]
    place_NHW2 = (place_N2HW + displaced_N2HW).movedim(1, 3)
    image_NCHW = functional.grid_sample(
        batch.image_NCHW, place_NHW2, mode="bilinear", padding_mode="border", align_corners=False
    )
    labels_NCHW = functional.grid_sample(
        batch.labels_NHW[:, None].float(),
        place_NHW2,
        mode="nearest",
        padding_mode="border",
        align_corners=False,
    )
    return replace(batch, image_NCHW=image_NCHW, labels_NHW=labels_NCHW[:, 0].to(torch.uint8))


def _centres(size_px: int) -> Tensor:
    """Where the centres of a line of pixels lie between its ends at -1 and 1."""
    return (2.0 * torch.arange(size_px) + 1.0) / size_px - 1.0


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
    tone_NK = tone_NK.cummax(dim=1).values.clamp(0.0, 1.0)
    tone_NK[:, 0] = 0.0
    tone_NL = functional.interpolate(tone_NK[:, None], NUM_LEVELS, mode="linear", align_corners=True)[:, 0]
    level_NP = (image_NCHW.flatten(1) * (NUM_LEVELS - 1)).round_().long()
    return tone_NL.to(image_NCHW.device).gather(1, level_NP).view_as(image_NCHW)


def _add_noise(image_NCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Add white noise of a random strength inside the breast."""
    device = image_NCHW.device
    strength_N111 = _uniform(0.0, MAX_NOISE, (image_NCHW.shape[0], 1, 1, 1), generator).to(device)
    seed = int(torch.randint(2**62, (), generator=generator))
    grains = torch.Generator(device).manual_seed(seed)
    noise_NCHW = torch.randn(image_NCHW.shape, generator=grains, device=device).mul_(strength_N111)
    return torch.where(image_NCHW > 0, noise_NCHW.add_(image_NCHW).clamp_(0.0, 1.0), image_NCHW)
