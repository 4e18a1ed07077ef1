"""The breast has the last word on where the chest wall is."""

from __future__ import annotations

import numpy as np
import pytest

from client.imaging.mammogram import Side
from client.imaging.orientation import orient

LEFT_HW = np.zeros((10, 10), np.bool_)
LEFT_HW[1:9, :4] = True
LEFT_HW[3:6, 4:6] = True


def test_the_edge_with_the_longer_contact_is_the_chest_wall() -> None:
    assert orient(LEFT_HW, None).chest_wall is Side.LEFT
    assert orient(LEFT_HW[:, ::-1], None).chest_wall is Side.RIGHT


def test_a_header_that_agrees_is_not_contradicted() -> None:
    assert not orient(LEFT_HW, Side.LEFT).contradicts_header


def test_a_mirrored_picture_contradicts_its_header_and_the_breast_wins() -> None:
    orientation = orient(LEFT_HW[:, ::-1], Side.LEFT)
    assert orientation.chest_wall is Side.RIGHT
    assert orientation.contradicts_header


@pytest.mark.parametrize("side", list(Side))
def test_where_both_edges_are_touched_alike_the_header_decides(side: Side) -> None:
    orientation = orient(np.ones((10, 10), np.bool_), side)
    assert orientation.chest_wall is side
    assert not orientation.contradicts_header


def test_without_header_and_clear_contact_the_heavier_half_decides() -> None:
    mask_HW = np.zeros((10, 10), np.bool_)
    mask_HW[4:6, :] = True
    mask_HW[:, 6:9] = True
    assert orient(mask_HW, None).chest_wall is Side.RIGHT
