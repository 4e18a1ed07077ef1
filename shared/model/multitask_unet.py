"""The multi-task U-Net: one encoder, one decoder for the breast and one for dense tissue.

After the multi-task network of Gudhe et al. (Sci Rep 12:12060, 2022), with normalisation per image instead
of per batch, so that no statistics of a hospital's images live in the weights.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypedDict

from monai.networks.blocks.convolutions import Convolution
from monai.networks.blocks.upsample import UpSample
from torch import Tensor, nn

NUM_BREAST_CLASSES = 3
INPUT_MEAN = 0.4
INPUT_SPREAD = 0.25


class Logits(TypedDict):
    """What the network says of a batch.

    `breast` is N3HW, one channel per `BreastClass`; `dense` is N1HW, positive where tissue is dense.
    """

    breast: Tensor
    dense: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Size of a multi-task U-Net.

    Attributes
    ----------
    stem_stride
        Step of the first convolution; 2 halves the resolution that all others see.
    channels
        Channels per level, finest first; each level after the first halves the resolution.
    encoder_depth, decoder_depth
        Convolutions per level.
    """

    stem_stride: int
    channels: tuple[int, ...]
    encoder_depth: int
    decoder_depth: int

    @property
    def stride(self) -> int:
        """Input height and width must be multiples of this many pixels."""
        return int(self.stem_stride * 2 ** (len(self.channels) - 1))

    def widened(self, factor: float) -> Architecture:
        """The same with so many times as many channels, at least one at every level."""
        return replace(self, channels=tuple(max(1, round(factor * count)) for count in self.channels))


ARCHITECTURES = {
    "tiny": Architecture(stem_stride=2, channels=(16, 32, 64, 96, 128), encoder_depth=2, decoder_depth=1),
    "base": Architecture(stem_stride=2, channels=(32, 64, 128, 256, 384), encoder_depth=2, decoder_depth=2),
}


def _convolutions(in_channels: int, out_channels: int, *, depth: int, stride: int = 1) -> nn.Sequential:
    """A chain of 3x3 convolutions, each with instance norm and leaky ReLU; the first may stride."""
    channels = [in_channels, *[out_channels] * depth]
    return nn.Sequential(
        *(
            Convolution(
                spatial_dims=2,
                in_channels=before,
                out_channels=after,
                strides=stride if index == 0 else 1,
                kernel_size=3,
                norm=("instance", {"affine": True}),
                act=("leakyrelu", {"negative_slope": 0.01}),
                adn_ordering="NA",
                bias=False,
            )
            for index, (before, after) in enumerate(pairwise(channels))
        )
    )


class Encoder(nn.Module):
    """Image to features at each level, finest first."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        first, *_ = architecture.channels
        stem = _convolutions(1, first, depth=architecture.encoder_depth, stride=architecture.stem_stride)
        self.levels = nn.ModuleList(
            [
                stem,
                *(
                    _convolutions(finer, coarser, depth=architecture.encoder_depth, stride=2)
                    for finer, coarser in pairwise(architecture.channels)
                ),
            ]
        )

    def forward(self, image_NCHW: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for level in self.levels:
            features.append(level(features[-1] if features else image_NCHW))
        return features


class Decoder(nn.Module):
    """Features at each level to the logits of one task, at the input's resolution.

    Coarser features are narrowed before they are enlarged and then added to the skip, not concatenated with
    it, which halves the arithmetic.
    """

    def __init__(self, architecture: Architecture, out_channels: int) -> None:
        super().__init__()
        channels = architecture.channels
        self.narrow = nn.ModuleList(
            nn.Conv2d(coarser, finer, kernel_size=1) for finer, coarser in pairwise(channels)
        )
        self.enlarge = UpSample(
            spatial_dims=2, scale_factor=2, mode="nontrainable", interp_mode="nearest", align_corners=None
        )
        self.levels = nn.ModuleList(
            _convolutions(width, width, depth=architecture.decoder_depth) for width in channels[:-1]
        )
        self.head = nn.Conv2d(channels[0], out_channels, kernel_size=1)
        self.to_input_size = UpSample(
            spatial_dims=2, scale_factor=architecture.stem_stride, mode="nontrainable", align_corners=False
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        *skips, x_NCHW = features
        for level, narrow, skip_NCHW in zip(
            reversed(self.levels), reversed(self.narrow), reversed(skips), strict=True
        ):
            x_NCHW = level(self.enlarge(narrow(x_NCHW)) + skip_NCHW)
        logits_NCHW: Tensor = self.to_input_size(self.head(x_NCHW))
        return logits_NCHW


class MultitaskUNet(nn.Module):
    """One encoder, two decoders; see `Architecture` for the sizes."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        self.breast_decoder = Decoder(architecture, NUM_BREAST_CLASSES)
        self.dense_decoder = Decoder(architecture, 1)

    def forward(self, image_NCHW: Tensor) -> Logits:
        """Segment a batch.

        Parameters
        ----------
        image_NCHW
            float32 in [0, 1], one channel, height and width multiples of `architecture.stride`.
        """
        features = self.encoder((image_NCHW - INPUT_MEAN) / INPUT_SPREAD)
        return {"breast": self.breast_decoder(features), "dense": self.dense_decoder(features)}
