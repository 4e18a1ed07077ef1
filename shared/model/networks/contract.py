"""What networks say, and what a network is from inside the system.

Axes: N images, C channels, H rows, W columns, T tasks in the order of `TASKS`.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from torch import Tensor, nn

NUM_BREAST_CLASSES = 3

Task = Literal["breast", "dense"]
TASKS: tuple[Task, ...] = ("breast", "dense")


class Logits(TypedDict):
    """What a network says of a batch.

    Attributes
    ----------
    breast
        N3HW, one channel per `BreastClass`.
    dense
        N1HW, positive where tissue is dense.
    coarser
        Of a network with deep supervision, in training: the same at 1/2, 1/4 and so on of the resolution.
    band
        In training, of a network with a head for density bands: float32 N311, by `DensityBandHead`.
    features
        In use, of such a network: float32 NC11, by `pool_features`. The head is asked when it is known what
        was measured; see `likely_bands`.
    log_variances_T
        In training: how uncertain the network is of each task, which weights their losses; see
        `MultitaskLoss`.
    """

    breast: Tensor
    dense: Tensor
    coarser: NotRequired[list[Logits]]
    band: NotRequired[Tensor]
    features: NotRequired[Tensor]
    log_variances_T: NotRequired[Tensor]


class Segmenter(nn.Module):
    """A network proper: from a normalised image to segments. A subclass is one file and one paper.

    Its weights are float32 parameters, with no running statistics among them: normalisation is per image, so
    that nothing of a hospital's images but what training made of them lives in the weights.

    Attributes
    ----------
    stride
        Input height and width must be multiples of this many pixels; it divides 32.
    num_features
        Channels of the coarsest features.
    """

    stride: int
    num_features: int

    def forward(self, image_NCHW: Tensor) -> tuple[Logits, Tensor]:
        """Segment a batch of about zero mean and unit variance; gives the coarsest features, too."""
        raise NotImplementedError


def split(scores_NCHW: Tensor) -> Logits:
    """The logits of a network whose one decoder has a head for both tasks, from its four channels."""
    return {"breast": scores_NCHW[:, :NUM_BREAST_CLASSES], "dense": scores_NCHW[:, NUM_BREAST_CLASSES:]}
