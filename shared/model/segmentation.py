"""From logits to segments and percent density: one reading of the network for training and inference.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from shared.model.networks.contract import Logits


class BreastClass(IntEnum):
    """Channel of the breast decoder."""

    BACKGROUND = 0
    BREAST = 1
    PECTORAL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Segments of a batch, measured or drawn by an expert.

    Attributes
    ----------
    breast_NHW
        bool; the breast without the pectoral muscle.
    pectoral_NHW
        bool; the pectoral muscle.
    dense_NHW
        bool; fibroglandular tissue, a part of the breast.
    """

    breast_NHW: Tensor
    pectoral_NHW: Tensor
    dense_NHW: Tensor

    def of_image(self, place: int, rows: int, columns: int) -> Segments:
        """Those of one image, within its first rows and columns."""
        here = (slice(place, place + 1), slice(rows), slice(columns))
        return Segments(
            breast_NHW=self.breast_NHW[here],
            pectoral_NHW=self.pectoral_NHW[here],
            dense_NHW=self.dense_NHW[here],
        )

    def percent_density(self) -> Tensor:
        """Dense area over breast area without pectoral, in %, float64 N; 0 where there is no breast."""
        dense_N = self.dense_NHW.sum(dim=(1, 2), dtype=torch.float64)
        breast_N = self.breast_NHW.sum(dim=(1, 2), dtype=torch.float64)
        return 100.0 * dense_N / breast_N.clamp(min=1.0)


def segments_of(logits: Logits) -> Segments:
    """The most likely breast class of each pixel, and dense tissue (probability above 0.5) in the breast."""
    breast_class_NHW = logits["breast"].argmax(dim=1)
    breast_NHW = breast_class_NHW == BreastClass.BREAST
    return Segments(
        breast_NHW=breast_NHW,
        pectoral_NHW=breast_class_NHW == BreastClass.PECTORAL,
        dense_NHW=(logits["dense"][:, 0] > 0) & breast_NHW,
    )
