"""Which edge of the picture is the chest wall: what the header claims, verified against the breast.

Archives hold mirrored pictures whose header says nothing of it, so the breast itself has the last word;
the header decides only where the breast leaves it open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from client.imaging.breast_mask import Mask
from client.imaging.mammogram import Side

EDGE_MARGIN = 0.02
CLEAR_RATIO = 1.5
"""The longer contact must exceed the shorter by this factor to settle the question by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orientation:
    """Where the chest wall is.

    Attributes
    ----------
    chest_wall
        The edge where it lies.
    contradicts_header
        The header claims the other edge: the picture was mirrored after acquisition, or its laterality is
        wrong.
    """

    chest_wall: Side
    contradicts_header: bool


def orient(breast_HW: Mask, claimed: Side | None) -> Orientation:
    """Find the chest wall of a breast mask; `claimed` is what the header says."""
    seen = _seen_chest_wall(breast_HW)
    return Orientation(
        chest_wall=seen or claimed or _heavier_half(breast_HW),
        contradicts_header=None not in (seen, claimed) and seen is not claimed,
    )


def _seen_chest_wall(breast_HW: Mask) -> Side | None:
    """The edge with clearly the longer contact."""
    margin = max(1, round(EDGE_MARGIN * breast_HW.shape[1]))
    left = int(np.count_nonzero(breast_HW[:, :margin].any(axis=1)))
    right = int(np.count_nonzero(breast_HW[:, -margin:].any(axis=1)))
    if max(left, right) < CLEAR_RATIO * min(left, right):
        return None
    return Side.LEFT if left > right else Side.RIGHT


def _heavier_half(breast_HW: Mask) -> Side:
    columns = np.flatnonzero(breast_HW.any(axis=0))
    weights = breast_HW[:, columns].sum(axis=0)
    centroid = float(np.average(columns, weights=weights))
    return Side.LEFT if centroid < (columns[0] + columns[-1]) / 2 else Side.RIGHT
