"""A U-Net in the style of nnU-Net (Isensee et al., Nat Methods 18:203, 2021).

Strided convolutions downwards, transposed ones upwards, instance norm, and deep supervision: in training
every level of the decoder but the coarsest has a head of its own, which the loss teaches too. It is made of
the blocks of MONAI's DynUNet; MONAI's class itself holds every weight under two names, and would be sent
twice.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from itertools import pairwise

from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetUpBlock
from torch import Tensor, nn

from shared.model.networks.architecture import Architecture
from shared.model.networks.contract import NUM_BREAST_CLASSES, Logits, Segmenter, split
from shared.model.networks.convolutions import ACTIVATION, NORM

KERNEL = 3
NUM_UNSUPERVISED = 1
"""Coarsest levels of the decoder without a head."""


class DynUNet(Segmenter):
    """Works at the image's own resolution."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        channels = architecture.channels
        self.stride, self.num_features = architecture.coarsest_step, channels[-1]
        self.downs = nn.ModuleList(
            UnetBasicBlock(2, before, after, KERNEL, 1 if before == 1 else 2, NORM, ACTIVATION)
            for before, after in pairwise((1, *channels))
        )
        self.ups = nn.ModuleList(
            UnetUpBlock(2, coarser, finer, KERNEL, 1, 2, NORM, ACTIVATION)
            for finer, coarser in pairwise(channels)
        )
        num_heads = max(1, len(self.ups) - NUM_UNSUPERVISED)
        self.heads = nn.ModuleList(
            nn.Conv2d(width, NUM_BREAST_CLASSES + 1, kernel_size=1) for width in channels[:num_heads]
        )

    def forward(self, image_NCHW: Tensor) -> tuple[Logits, Tensor]:
        features = [image_NCHW]
        for down in self.downs:
            features.append(down(features[-1]))
        coarsest_NCHW = x_NCHW = features.pop()
        decoded: list[Tensor] = []
        for up in reversed(self.ups):
            x_NCHW = up(x_NCHW, features.pop())
            decoded.insert(0, x_NCHW)
        logits = split(self.heads[0](x_NCHW))
        if self.training:
            logits["coarser"] = [
                split(head(level_NCHW)) for head, level_NCHW in zip(self.heads[1:], decoded[1:], strict=False)
            ]
        return logits, coarsest_NCHW
