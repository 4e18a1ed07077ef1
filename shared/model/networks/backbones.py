"""Encoders from elsewhere that a plan can give to `mtl_unet`: ResNet and EfficientNet.

ResNet (He et al., CVPR 2016) and EfficientNet (Tan and Le, ICML 2019) are as MONAI's FlexibleUNet has them,
without weights from elsewhere. Their batch norms become group norms (Wu and He, ECCV 2018): running
statistics of a hospital's images would live in the weights, would not average to those of all hospitals, and
are no float32 parameters. Their features are brought to the channels of the plan's size.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math

from monai.networks.nets.efficientnet import MBConvBlock
from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE
from torch import Tensor, nn

from shared.model.networks.architecture import Architecture
from shared.plan import EncoderName

MOST_GROUPS = 32
UNUSED = ("_conv_head", "_bn1", "_fc", "_dropout", "_avg_pooling")
"""What an EfficientNet has for classifying alone."""


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


def _adapt(module: nn.Module) -> None:
    """Group norms for batch norms, and nothing dropped at random: a plan's seed rules all chance."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            groups = math.gcd(MOST_GROUPS, child.num_features)
            setattr(module, name, nn.GroupNorm(groups, child.num_features, eps=child.eps))
        elif isinstance(child, MBConvBlock):
            child.drop_connect_rate = 0.0
        _adapt(child)
