"""Encoders that a plan can give to `mtl_unet`: image to features at each level, finest first.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from shared.model.networks.architecture import Architecture
from shared.model.networks.convolutions import convolutions
from shared.plan import EncoderName


class PlainEncoder(nn.Module):
    """Chains of convolutions, the first of each level strided."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        depth = architecture.encoder_depth
        first, *_ = architecture.channels
        self.levels = nn.ModuleList(
            [
                convolutions(1, first, depth=depth, stride=architecture.stem_stride),
                *(
                    convolutions(finer, coarser, depth=depth, stride=2)
                    for finer, coarser in pairwise(architecture.channels)
                ),
            ]
        )

    def forward(self, image_NCHW: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for level in self.levels:
            features.append(level(features[-1] if features else image_NCHW))
        return features


def encoder_of(name: EncoderName, architecture: Architecture) -> nn.Module:
    """The encoder of that name."""
    if name == "plain":
        return PlainEncoder(architecture)
    # MONAI is imported by those networks alone that are made of it: it takes longer than torch.
    from shared.model.networks.backbones import BackboneEncoder

    return BackboneEncoder(name, architecture)
