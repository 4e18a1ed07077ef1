"""Overlap of segments with an expert's, image by image: Dice, Ecology 26 (1945).

Axes: N images, H rows, W columns.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dice(measured_NHW: Tensor, expert_NHW: Tensor) -> Tensor:
    """Dice coefficient of each image, float64 N in [0, 1]; 1 where both masks are empty.

    Parameters
    ----------
    measured_NHW, expert_NHW
        bool.
    """
    overlap_N = (measured_NHW & expert_NHW).sum(dim=(1, 2), dtype=torch.float64)
    size_N = measured_NHW.sum(dim=(1, 2), dtype=torch.float64) + expert_NHW.sum(
        dim=(1, 2), dtype=torch.float64
    )
    return torch.where(size_N > 0, 2.0 * overlap_N / size_N.clamp(min=1.0), torch.ones_like(size_N))
