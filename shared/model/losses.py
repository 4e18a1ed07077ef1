"""The loss of the multi-task network: Dice plus cross entropy per task, summed over the tasks.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

from monai.losses.dice import DiceCELoss
from torch import Tensor, nn

from shared.model.multitask_unet import Logits
from shared.model.segmentation import BreastClass, Segments


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What the network should say of a batch.

    Attributes
    ----------
    breast_NHW
        int64 `BreastClass`.
    dense_NHW
        float32, 1 where tissue is dense, else 0.
    """

    breast_NHW: Tensor
    dense_NHW: Tensor

    def only(self, chosen: slice) -> Targets:
        """The targets of some images."""
        return Targets(breast_NHW=self.breast_NHW[chosen], dense_NHW=self.dense_NHW[chosen])

    def segments(self) -> Segments:
        """The expert's segments."""
        return Segments(
            breast_NHW=self.breast_NHW == BreastClass.BREAST,
            pectoral_NHW=self.breast_NHW == BreastClass.PECTORAL,
            dense_NHW=self.dense_NHW > 0.5,
        )


class MultitaskLoss(nn.Module):
    """Dice plus cross entropy of the breast classes, and of dense tissue.

    Overlap is taken over the whole batch, so that an image without a class does not dominate its step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.breast_loss = DiceCELoss(softmax=True, to_onehot_y=True, batch=True)
        self.dense_loss = DiceCELoss(sigmoid=True, batch=True)

    def forward(self, logits: Logits, targets: Targets) -> Tensor:
        """The loss of a batch, a float32 scalar."""
        breast: Tensor = self.breast_loss(logits["breast"].float(), targets.breast_NHW[:, None])
        dense: Tensor = self.dense_loss(logits["dense"].float(), targets.dense_NHW[:, None])
        return breast + dense
