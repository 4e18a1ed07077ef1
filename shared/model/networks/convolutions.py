"""Convolutions as all networks have them: 3x3, instance norm, leaky ReLU, no bias (the norm has one)."""

from __future__ import annotations

from itertools import pairwise

from monai.networks.blocks.convolutions import Convolution
from torch import nn

NORM = ("instance", {"affine": True})
ACTIVATION = ("leakyrelu", {"negative_slope": 0.01})


def convolution(
    in_channels: int, out_channels: int, *, kernel_size: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Module:
    """One convolution with its norm and activation; without a stride the size stays."""
    return Convolution(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        strides=stride,
        kernel_size=kernel_size,
        dilation=dilation,
        norm=NORM,
        act=ACTIVATION,
        adn_ordering="NA",
        bias=False,
    )


def convolutions(in_channels: int, out_channels: int, *, depth: int, stride: int = 1) -> nn.Sequential:
    """A chain of convolutions; the first may stride."""
    channels = [in_channels, *[out_channels] * depth]
    return nn.Sequential(
        *(
            convolution(before, after, stride=stride if index == 0 else 1)
            for index, (before, after) in enumerate(pairwise(channels))
        )
    )
