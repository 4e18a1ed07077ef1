"""What every network is to the rest of the system: one form of input, one form of output.

Axes: N images, C channels, H rows, W columns, T tasks in the order of `TASKS`.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

import torch
from torch import Tensor, nn

from shared.plan import ModelPlan

NUM_BREAST_CLASSES = 3
INPUT_MEAN = 0.4
INPUT_SPREAD = 0.25

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
    log_variances_T
        In training: how uncertain the network is of each task, which weights their losses; see
        `MultitaskLoss`.
    """

    breast: Tensor
    dense: Tensor
    coarser: NotRequired[list[Logits]]
    log_variances_T: NotRequired[Tensor]


class Segmenter(nn.Module):
    """A network proper: from a normalised image to segments. A subclass is one file and one paper.

    Its weights are float32 parameters, with no running statistics among them: normalisation is per image, so
    that nothing of a hospital's images but what training made of them lives in the weights.

    Attributes
    ----------
    stride
        Input height and width must be multiples of this many pixels; it divides 32.
    """

    stride: int

    def forward(self, image_NCHW: Tensor) -> Logits:
        """Segment a batch of about zero mean and unit variance."""
        raise NotImplementedError


def split(scores_NCHW: Tensor) -> Logits:
    """The logits of a network whose one decoder has a head for both tasks, from its four channels."""
    return {"breast": scores_NCHW[:, :NUM_BREAST_CLASSES], "dense": scores_NCHW[:, NUM_BREAST_CLASSES:]}


class Network(nn.Module):
    """A plan's network as it is trained, sent and used.

    Parameters
    ----------
    segmenter
        The network proper.
    plan
        Says how the tasks are weighted.
    """

    log_variances_T: Tensor | None

    def __init__(self, segmenter: Segmenter, plan: ModelPlan) -> None:
        super().__init__()
        self.segmenter = segmenter
        uncertain = plan.task_weighting == "uncertainty"
        self.log_variances_T = nn.Parameter(torch.zeros(len(TASKS))) if uncertain else None

    @property
    def stride(self) -> int:
        """Input height and width must be multiples of this many pixels."""
        return self.segmenter.stride

    def forward(self, image_NCHW: Tensor) -> Logits:
        """Segment a batch.

        Parameters
        ----------
        image_NCHW
            float32 in [0, 1], one channel, height and width multiples of `stride`.
        """
        logits: Logits = self.segmenter((image_NCHW - INPUT_MEAN) / INPUT_SPREAD)
        if self.training and self.log_variances_T is not None:
            logits["log_variances_T"] = self.log_variances_T
        return logits
