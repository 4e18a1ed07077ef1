"""Convolutions as all networks have them: 3x3, instance norm, leaky ReLU, no bias (the norm has one)."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import nn

NEGATIVE_SLOPE = 0.01
NORM = ("instance", {"affine": True})
ACTIVATION = ("leakyrelu", {"negative_slope": NEGATIVE_SLOPE})
"""The same norm and activation, as MONAI's blocks are told."""


def convolution(
    in_channels: int, out_channels: int, *, kernel_size: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """One convolution with its norm and activation; without a stride the size stays."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride=stride,
                padding=dilation * (kernel_size // 2),
                dilation=dilation,
                bias=False,
            ),
            norm=nn.InstanceNorm2d(out_channels, affine=True),
            activation=nn.LeakyReLU(NEGATIVE_SLOPE),
        )
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
