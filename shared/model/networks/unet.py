"""The U-Net, the baseline (Ronneberger et al., MICCAI 2015, doi 10.1007/978-3-319-24574-4_28).

As published but for two things: padded convolutions, so that segments have the image's size, each with
instance norm and leaky ReLU. One decoder, whose head speaks for both tasks.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from itertools import pairwise

from monai.networks.nets.basic_unet import Down, TwoConv, UpCat
from torch import Tensor, nn

from shared.model.networks.architecture import Architecture
from shared.model.networks.contract import NUM_BREAST_CLASSES, Logits, Segmenter, split
from shared.model.networks.convolutions import ACTIVATION, NORM


class UNet(Segmenter):
    """Works at the image's own resolution; max pooling, transposed convolutions, concatenated skips."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        channels = architecture.channels
        self.stride, self.num_features = architecture.coarsest_step, channels[-1]
        self.finest = TwoConv(2, 1, channels[0], ACTIVATION, NORM, bias=False)
        self.downs = nn.ModuleList(
            Down(2, finer, coarser, ACTIVATION, NORM, bias=False) for finer, coarser in pairwise(channels)
        )
        self.ups = nn.ModuleList(
            UpCat(2, coarser, finer, finer, ACTIVATION, NORM, bias=False, is_pad=False)
            for finer, coarser in pairwise(channels)
        )
        self.head = nn.Conv2d(channels[0], NUM_BREAST_CLASSES + 1, kernel_size=1)

    def forward(self, image_NCHW: Tensor) -> tuple[Logits, Tensor]:
        features = [self.finest(image_NCHW)]
        for down in self.downs:
            features.append(down(features[-1]))
        coarsest_NCHW = x_NCHW = features.pop()
        for up in reversed(self.ups):
            x_NCHW = up(x_NCHW, features.pop())
        return split(self.head(x_NCHW)), coarsest_NCHW
