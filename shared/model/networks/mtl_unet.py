"""The multi-task U-Net, the default: one encoder, one decoder for the breast and one for dense tissue.

After the multi-task network of Gudhe et al. (Sci Rep 12:12060, 2022): a shared encoder, and a dilation module
where each decoder begins. The paper's text has parallel dilated convolutions there; four of 3x3 with rates 1,
2, 4 and 8, joined and added to what enters, is our reading of it. Three things are ours: the encoder begins
with a stride, coarser features are narrowed before they are enlarged and then added to the skip, which halves
the arithmetic, and normalisation is per image.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from shared.model.networks.architecture import Architecture
from shared.model.networks.contract import NUM_BREAST_CLASSES, Logits, Segmenter
from shared.model.networks.convolutions import convolution, convolutions
from shared.model.networks.encoders import encoder_of
from shared.plan import EncoderName

RATES = (1, 2, 4, 8)


class DilationModule(nn.Module):
    """Looks at the coarsest features at four ranges at once; the size and the channels stay."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = max(1, channels // len(RATES))
        self.branches = nn.ModuleList(convolution(channels, width, dilation=rate) for rate in RATES)
        self.join = convolution(width * len(RATES), channels, kernel_size=1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        joined_NCHW: Tensor = self.join(torch.cat([branch(x_NCHW) for branch in self.branches], dim=1))
        return x_NCHW + joined_NCHW


class Decoder(nn.Module):
    """Features at each level to the logits of one task, at the input's resolution."""

    def __init__(self, architecture: Architecture, out_channels: int) -> None:
        super().__init__()
        channels = architecture.channels
        self.dilation = DilationModule(channels[-1])
        self.narrow = nn.ModuleList(
            nn.Conv2d(coarser, finer, kernel_size=1) for finer, coarser in pairwise(channels)
        )
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.levels = nn.ModuleList(
            convolutions(width, width, depth=architecture.decoder_depth) for width in channels[:-1]
        )
        self.head = nn.Conv2d(channels[0], out_channels, kernel_size=1)
        self.to_input_size = nn.Upsample(scale_factor=architecture.stem_stride, mode="bilinear")

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        *skips, coarsest_NCHW = features
        x_NCHW = self.dilation(coarsest_NCHW)
        for level, narrow, skip_NCHW in zip(
            reversed(self.levels), reversed(self.narrow), reversed(skips), strict=True
        ):
            x_NCHW = level(self.enlarge(narrow(x_NCHW)) + skip_NCHW)
        logits_NCHW: Tensor = self.to_input_size(self.head(x_NCHW))
        return logits_NCHW


class MtlUNet(Segmenter):
    """Both decoders see the same features."""

    def __init__(self, architecture: Architecture, encoder: EncoderName = "plain") -> None:
        super().__init__()
        self.stride = architecture.stem_stride * architecture.coarsest_step
        self.num_features = architecture.channels[-1]
        self.encoder = encoder_of(encoder, architecture)
        self.breast_decoder = Decoder(architecture, NUM_BREAST_CLASSES)
        self.dense_decoder = Decoder(architecture, 1)

    def forward(self, image_NCHW: Tensor) -> tuple[Logits, Tensor]:
        features = self.encoder(image_NCHW)
        logits: Logits = {"breast": self.breast_decoder(features), "dense": self.dense_decoder(features)}
        return logits, features[-1]
