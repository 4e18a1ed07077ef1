"""A plan's network from outside: the one form of input and output that the rest of the system knows.

Axes: N images, C channels, H rows, W columns, T tasks in the order of `TASKS`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shared.model.density_band import DensityBandHead, pool_features
from shared.model.networks.contract import TASKS, Logits, Segmenter
from shared.model.segmentation import segments_of
from shared.plan import ModelPlan

INPUT_MEAN = 0.4
INPUT_SPREAD = 0.25


class Network(nn.Module):
    """A plan's network as it is trained, sent and used.

    Parameters
    ----------
    segmenter
        The network proper.
    plan
        Says how the tasks are weighted, and whether there is a head for density bands.
    """

    log_variances_T: Tensor | None

    def __init__(self, segmenter: Segmenter, plan: ModelPlan) -> None:
        super().__init__()
        self.segmenter = segmenter
        uncertain = plan.task_weighting == "uncertainty"
        self.log_variances_T = nn.Parameter(torch.zeros(len(TASKS))) if uncertain else None
        self.band_head = DensityBandHead(segmenter.num_features) if plan.has_band_head else None

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
        logits: Logits
        coarsest_NCHW: Tensor
        logits, coarsest_NCHW = self.segmenter((image_NCHW - INPUT_MEAN) / INPUT_SPREAD)
        if self.band_head is not None:
            # Cut off here, so that a category never moves a segment.
            segments = segments_of(logits)
            features_NC11 = pool_features(coarsest_NCHW.detach().float(), segments.breast_NHW)
            if self.training:
                logits["band"] = self.band_head(segments.percent_density(), features_NC11)
            else:
                logits["features"] = features_NC11
        if self.training and self.log_variances_T is not None:
            logits["log_variances_T"] = self.log_variances_T
        return logits
