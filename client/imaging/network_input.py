"""The one door between prepared pictures and networks: same scale and padding in training and use.

A plan says how large the network's input is and, as `model.pixel_mm`, which part of a breast a pixel of it
shows. Where that and the spacing of a picture are known, the picture is brought to this scale; if it is
larger than the input then, training sees windows of it and use slides over it. Else it is fitted into the
input.

Shape suffixes: C channel, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from client.imaging.mammogram import Spacing
from client.imaging.preparation import FULL_SCALE
from client.imaging.resample import Scalar, resize_image, resize_labels
from shared.plan import ModelPlan

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where a prepared picture lies on the canvas that a network is shown.

    It is at the top left, so that the chest wall stays at the left edge; what is left over is zero.

    Attributes
    ----------
    picture
        Rows and columns of the prepared picture.
    scaled
        Those that it takes of the canvas.
    canvas
        At least the network's input; more where the network has to slide.
    """

    picture: Shape
    scaled: Shape
    canvas: Shape

    def image(self, image_HW: npt.NDArray[np.uint16]) -> torch.Tensor:
        """A prepared picture on its canvas: float32, 1HW, in [0, 1]."""
        rows, columns = self.scaled
        scaled_HW = resize_image(image_HW.astype(np.float32), rows, columns)
        canvas_CHW = torch.zeros((1, *self.canvas))
        canvas_CHW[0, :rows, :columns] = torch.from_numpy(scaled_HW)
        return canvas_CHW.div_(FULL_SCALE).clamp_(0, 1)

    def labels(self, labels_HW: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """A label map of the picture on its canvas, by nearest neighbour."""
        rows, columns = self.scaled
        canvas_HW = np.zeros(self.canvas, labels_HW.dtype)
        canvas_HW[:rows, :columns] = resize_labels(labels_HW, rows, columns)
        return canvas_HW

    def scaled_spacing(self, spacing: Spacing) -> Spacing:
        """Pixel spacing on the canvas, from that of the picture."""
        return Spacing(
            row_mm=spacing.row_mm * self.picture[0] / self.scaled[0],
            column_mm=spacing.column_mm * self.picture[1] / self.scaled[1],
        )

    def to_picture(self, scores_CHW: torch.Tensor) -> torch.Tensor:
        """What a network says of the canvas (logits or probabilities), on the prepared picture.

        Returns
        -------
        torch.Tensor
            float32, CHW; decide between classes after this, not before.
        """
        rows, columns = self.scaled
        inner_NCHW = scores_CHW[None, :, :rows, :columns].float()
        return functional.interpolate(inner_NCHW, size=self.picture, mode="bilinear", align_corners=False)[0]


def frame_of(picture: Shape, spacing: Spacing | None, plan: ModelPlan) -> Frame:
    """How a prepared picture of this shape and spacing is shown to the plan's network, in proportion."""
    size = (plan.input_height_px, plan.input_width_px)
    if plan.pixel_mm is None or spacing is None:
        scale = min(size[0] / picture[0], size[1] / picture[1])
        rows, columns = (min(most, _scaled(side, scale)) for side, most in zip(picture, size, strict=True))
    else:
        rows = _scaled(picture[0], spacing.row_mm / plan.pixel_mm)
        columns = _scaled(picture[1], spacing.column_mm / plan.pixel_mm)
    return Frame(picture=picture, scaled=(rows, columns), canvas=(max(size[0], rows), max(size[1], columns)))


def _scaled(side: int, scale: float) -> int:
    return max(1, round(side * scale))
