"""Encoders that a plan can give to `mtl_unet`: image to features at each level, finest first.

Beside the plain one, ResNet (He et al., CVPR 2016) and EfficientNet (Tan and Le, ICML 2019) as MONAI's
FlexibleUNet has them, without weights from elsewhere. Their batch norms become group norms (Wu and He, ECCV
2018): running statistics of a hospital's images would live in the weights, would not average to those of all
hospitals, and are no float32 parameters. Their features are brought to the channels of the plan's size.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from itertools import pairwise

from monai.networks.nets.efficientnet import MBConvBlock
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from torch import Tensor, nn

from shared.model.networks.architecture import Architecture
from shared.model.networks.convolutions import convolutions
from shared.plan import EncoderName

MOST_GROUPS = 32
NUM_LEVELS = 5
"""Of every encoder of FlexibleUNet; the finest has half the resolution of the image."""
UNUSED = ("_conv_head", "_bn1", "_fc", "_dropout", "_avg_pooling")
"""What an EfficientNet has for classifying alone."""


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


class BackboneEncoder(nn.Module):
    """A backbone of FlexibleUNet."""

    def __init__(self, name: EncoderName, architecture: Architecture) -> None:
        super().__init__()
        registered = FLEXUNET_BACKBONE.register_dict[name]
        options = registered["parameter"] | {"spatial_dims": 2, "in_channels": 1, "pretrained": False}
        self.backbone = registered["type"](**options)
        for unused in UNUSED:
            if hasattr(self.backbone, unused):
                delattr(self.backbone, unused)
        _adapt(self.backbone)
        self.projections = nn.ModuleList(
            nn.Conv2d(width, wanted, kernel_size=1)
            for width, wanted in zip(registered["feature_channel"], architecture.channels, strict=True)
        )

    def forward(self, image_NCHW: Tensor) -> list[Tensor]:
        features = self.backbone(image_NCHW)
        return [projection(each) for projection, each in zip(self.projections, features, strict=True)]


def encoder_of(name: EncoderName, architecture: Architecture) -> nn.Module:
    """The encoder of that name."""
    return PlainEncoder(architecture) if name == "plain" else BackboneEncoder(name, architecture)


def _adapt(module: nn.Module) -> None:
    """Group norms for batch norms, and nothing dropped at random: a plan's seed rules all chance."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            groups = math.gcd(MOST_GROUPS, child.num_features)
            setattr(module, name, nn.GroupNorm(groups, child.num_features, eps=child.eps))
        elif isinstance(child, MBConvBlock):
            child.drop_connect_rate = 0.0
        _adapt(child)
