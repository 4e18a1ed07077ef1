"""What training minimises: the loss of each task, how tasks are weighted, and what labels leave open.

The loss of a task is Dice plus cross entropy, as in nnU-Net, or the focal Tversky loss (Abraham and Khan,
ISBI 2019) with the numbers of Gudhe et al. (Sci Rep 12:12060, 2022), which makes a missed pixel dearer than a
false one. Overlap is taken over the whole batch, so that an image without a class does not dominate its step.

Where a label leaves several classes open, the cross entropy is that of their union (the marginal loss of Shi
et al., Med Image Anal 70:101979, 2021), and a class takes part in overlaps where it is known to be or not to
be. A task of which a batch knows nothing costs nothing.

Axes: N images, C channels, H rows, W columns, T tasks in the order of `TASKS`, L levels, finest first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from monai.losses.dice import DiceLoss
from monai.losses.tversky import TverskyLoss
from torch import Tensor, nn
from torch.nn import functional

from shared.model.density_band import band_loss
from shared.model.networks.contract import Logits
from shared.model.targets import Targets
from shared.plan import LossName

FALSE_POSITIVE_WEIGHT, FALSE_NEGATIVE_WEIGHT = 0.3, 0.7
FOCUS = 0.75
GRACE_PX = 1.0
BAND_WEIGHT = 0.01
"""Of the head's loss, which moves no other weight. The head's own steps do not depend on it; a small one
leaves the length to which gradients are clipped to the segments."""
LEAST_MISS = 1e-6
"""The slope of a power below one has no end at zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The loss of a batch.

    Attributes
    ----------
    objective
        What training minimises: of all levels, with the tasks weighted. It may be negative.
    plain
        What a person is told: the sum over tasks at the full resolution, without a gradient.
    """

    objective: Tensor
    plain: Tensor


class MultitaskLoss(nn.Module):
    """The loss of both tasks, and of density bands where the network has a head for them, summed.

    Where the network has log variances s of the tasks, their sum is that of exp(-s) L + s (Kendall et al.,
    CVPR 2018): the surer the network is of a task, the more it counts, and being sure has its price. Under
    deep supervision each level counts half as much as the next finer one, all together 1.
    """

    def __init__(self, name: LossName) -> None:
        super().__init__()
        self._name = name
        self._dice = DiceLoss(batch=True, reduction="none")
        self._tversky = TverskyLoss(
            alpha=FALSE_POSITIVE_WEIGHT,
            beta=FALSE_NEGATIVE_WEIGHT,
            smooth_nr=GRACE_PX,
            smooth_dr=GRACE_PX,
            batch=True,
            reduction="none",
        )

    def forward(self, logits: Logits, targets: Targets) -> Loss:
        """The loss of a batch, float32 scalars."""
        levels = [logits, *logits.get("coarser", [])]
        losses_LT = torch.stack(
            [self._tasks(level, targets.shrunk(2**number)) for number, level in enumerate(levels)]
        )
        weights_L = 0.5 ** torch.arange(len(levels), device=losses_LT.device)
        losses_T = (weights_L[:, None] * losses_LT).sum(dim=0) / weights_L.sum()
        plain = losses_LT[0].detach().sum()
        if "log_variances_T" in logits:
            log_variances_T = logits["log_variances_T"]
            losses_T = targets.known() * (torch.exp(-log_variances_T) * losses_T + log_variances_T)
        objective = losses_T.sum()
        if "band" in logits:
            bands = band_loss(logits["band"], targets.band_N)
            objective, plain = objective + BAND_WEIGHT * bands, plain + bands.detach()
        return Loss(objective=objective, plain=plain)

    def _tasks(self, logits: Logits, targets: Targets) -> Tensor:
        """The loss of each task at one resolution, T."""
        return torch.stack([self._breast(logits, targets), self._dense(logits, targets)])

    def _breast(self, logits: Logits, targets: Targets) -> Tensor:
        scores_NCHW = logits["breast"].float()
        possible_NCHW = targets.possible_NCHW
        num_possible_N1HW = possible_NCHW.sum(dim=1, keepdim=True)
        # A class is known to be where it alone is possible, and known not to be where it is not.
        known_NCHW = ~possible_NCHW | (num_possible_N1HW == 1)
        overlap = self._overlap(scores_NCHW.softmax(dim=1), possible_NCHW & known_NCHW, known_NCHW)
        if self._name == "focal_tversky":
            return overlap
        union_NHW = scores_NCHW.masked_fill(~possible_NCHW, -torch.inf).logsumexp(dim=1)
        entropy_NHW = scores_NCHW.logsumexp(dim=1) - union_NHW
        return overlap + _mean(entropy_NHW, num_possible_N1HW[:, 0] < possible_NCHW.shape[1])

    def _dense(self, logits: Logits, targets: Targets) -> Tensor:
        scores_N1HW = logits["dense"].float()
        dense_N1HW, known_N1HW = targets.dense_NHW[:, None], targets.dense_known_NHW[:, None]
        overlap = self._overlap(scores_N1HW.sigmoid(), dense_N1HW, known_N1HW)
        if self._name == "focal_tversky":
            return overlap
        entropy_N1HW = functional.binary_cross_entropy_with_logits(
            scores_N1HW, dense_N1HW.float(), reduction="none"
        )
        return overlap + _mean(entropy_N1HW, known_N1HW)

    def _overlap(self, probability_NCHW: Tensor, is_NCHW: Tensor, known_NCHW: Tensor) -> Tensor:
        """The mean over classes of how far what is measured and what is known lie apart."""
        measured_NCHW, expert_NCHW = probability_NCHW * known_NCHW, is_NCHW.float()
        if self._name == "focal_tversky":
            miss_C: Tensor = self._tversky(measured_NCHW, expert_NCHW).flatten()
            return miss_C.clamp(min=LEAST_MISS).pow(FOCUS).mean()
        # No overlap can be had with a class that no image of the batch shows: its Dice loss is 1 whatever is
        # measured, and cross entropy alone speaks of it.
        return _mean(
            self._dice(measured_NCHW, expert_NCHW).flatten(), is_NCHW.any(dim=3).any(dim=2).any(dim=0)
        )


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """The mean of the values that count; 0, with a gradient of 0, where none does."""
    return (values * counted).sum() / counted.sum().clamp(min=1)
