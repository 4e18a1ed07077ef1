"""MILDNet: multi-level dilated residual blocks (Gudhe et al., Sci Rep 11:14105, 2021).

A U-Net whose blocks are chains of dilated convolutions with residuals within residuals, and whose skips are
residual blocks themselves. The paper found two levels of dilations 1, 3, 5 to be best; how residuals, norms
and activations lie in a block is our reading of it. One decoder, whose head speaks for both tasks. A block
has three times the convolutions of a plain one, so that a size has half the channels here.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from shared.model.networks.architecture import Architecture
from shared.model.networks.contract import NUM_BREAST_CLASSES, Logits, Segmenter, split
from shared.model.networks.convolutions import convolution

NUM_LEVELS = 2
DILATIONS = (1, 3, 5)
WIDTH = 0.5


class Residual(nn.Module):
    """A chain that adds to what enters it."""

    def __init__(self, *chain: nn.Module) -> None:
        super().__init__()
        self.chain = nn.Sequential(*chain)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        added_NCHW: Tensor = self.chain(x_NCHW)
        return x_NCHW + added_NCHW


def dilated_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """The multi-level dilated residual block (MLDR)."""
    levels = (
        Residual(*(convolution(out_channels, out_channels, dilation=dilation) for dilation in DILATIONS))
        for _ in range(NUM_LEVELS)
    )
    return nn.Sequential(convolution(in_channels, out_channels, kernel_size=1), Residual(*levels))


def residual_skip(channels: int) -> nn.Sequential:
    """The multi-level residual block (MLR) of a skip."""
    return nn.Sequential(*(Residual(convolution(channels, channels)) for _ in range(NUM_LEVELS)))


class MildUNet(Segmenter):
    """Works at the image's own resolution; max pooling, concatenated skips."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        channels = architecture.widened(WIDTH).channels
        self.stride, self.num_features = architecture.coarsest_step, channels[-1]
        self.downs = nn.ModuleList(dilated_block(before, after) for before, after in pairwise((1, *channels)))
        self.skips = nn.ModuleList(residual_skip(width) for width in channels[:-1])
        self.narrow = nn.ModuleList(
            nn.Conv2d(coarser, finer, kernel_size=1) for finer, coarser in pairwise(channels)
        )
        self.ups = nn.ModuleList(dilated_block(2 * width, width) for width in channels[:-1])
        self.head = nn.Conv2d(channels[0], NUM_BREAST_CLASSES + 1, kernel_size=1)

    def forward(self, image_NCHW: Tensor) -> tuple[Logits, Tensor]:
        finest, *coarser = self.downs
        features = [finest(image_NCHW)]
        for down in coarser:
            features.append(down(functional.max_pool2d(features[-1], 2)))
        *features, coarsest_NCHW = features
        x_NCHW = coarsest_NCHW
        for feature_NCHW, skip, narrow, up in zip(
            reversed(features), reversed(self.skips), reversed(self.narrow), reversed(self.ups), strict=True
        ):
            enlarged_NCHW = functional.interpolate(narrow(x_NCHW), scale_factor=2.0, mode="nearest")
            x_NCHW = up(torch.cat([skip(feature_NCHW), enlarged_NCHW], dim=1))
        return split(self.head(x_NCHW)), coarsest_NCHW
