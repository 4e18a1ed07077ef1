"""Examples at the network's input size, kept ready in memory between rounds.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from client.imaging.example import Example, Label
from client.imaging.network_input import fit, fit_labels
from shared.errors import NotReadyError
from shared.model.losses import Targets
from shared.model.segmentation import BreastClass
from shared.plan import ModelPlan

_BREAST_CLASS_OF_LABEL = torch.tensor(
    [
        {
            Label.BACKGROUND: BreastClass.BACKGROUND,
            Label.ADIPOSE: BreastClass.BREAST,
            Label.DENSE: BreastClass.BREAST,
            Label.PECTORAL: BreastClass.PECTORAL,
        }[label]
        for label in sorted(Label)
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Images of equal size and their label maps.

    Attributes
    ----------
    image_NCHW
        float32 in [0, 1], one channel.
    labels_NHW
        uint8 `Label`.
    """

    image_NCHW: Tensor
    labels_NHW: Tensor

    def targets(self) -> Targets:
        """The label maps as the two tasks of the network."""
        return Targets(
            breast_NHW=_BREAST_CLASS_OF_LABEL.to(self.labels_NHW.device)[self.labels_NHW.long()],
            dense_NHW=(self.labels_NHW == Label.DENSE).float(),
        )

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(image_NCHW=self.image_NCHW.to(device), labels_NHW=self.labels_NHW.to(device))


class FittedDataset:
    """Examples fitted once to a network's input; 16-bit values and labels cost three bytes a pixel.

    Parameters
    ----------
    examples
        Prepared examples with masks, at least one.
    plan
        Gives the input's height and width.

    Raises
    ------
    NotReadyError
        There is no example.
    """

    def __init__(self, examples: Sequence[Example], plan: ModelPlan) -> None:
        if not examples:
            raise NotReadyError(
                "There is no example to train or evaluate on.", "Add more mammograms with masks to the site."
            )
        height, width = plan.input_height_px, plan.input_width_px
        self.example_ids = tuple(example.example_id for example in examples)
        self._images_NCHW = torch.stack(
            [fit(example.image_HW, height, width).to(torch.float16) for example in examples]
        )
        self._labels_NHW = torch.stack(
            [torch.from_numpy(fit_labels(_labels_of(example), height, width)) for example in examples]
        )

    def __len__(self) -> int:
        return len(self.example_ids)

    def batch(self, indices: Sequence[int]) -> Batch:
        """The examples at these positions, in this order."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return Batch(image_NCHW=self._images_NCHW[chosen].float(), labels_NHW=self._labels_NHW[chosen])


def _labels_of(example: Example) -> npt.NDArray[np.uint8]:
    assert example.labels_HW is not None
    return example.labels_HW
