"""Preparation: orientation, crop, grey values, and the way back to the source."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from client.imaging.mammogram import Mammogram, Side, Spacing
from client.imaging.preparation import FULL_SCALE, prepare
from shared.errors import NotMammogramError


def draw_mammogram(side: Side = Side.LEFT, height: int = 900, width: int = 700) -> Mammogram:
    """A breast with a gradient, and a bright label outside of it."""
    y, x = np.mgrid[:height, :width]
    breast_HW = ((y - height / 2) / (0.4 * height)) ** 2 + (x / (0.6 * width)) ** 2 < 1
    pixels_HW = np.where(breast_HW, 500 + x, 0)
    pixels_HW[20:50, -90:-20] = 4000
    if side is Side.RIGHT:
        pixels_HW = pixels_HW[:, ::-1]
    return Mammogram(pixels_HW=pixels_HW.astype(np.float32))


@pytest.mark.parametrize("side", list(Side))
def test_the_chest_wall_comes_to_the_left(side: Side) -> None:
    prepared = prepare(draw_mammogram(side))
    assert prepared.geometry.mirrored is (side is Side.RIGHT)
    contact = prepared.breast_HW.sum(axis=0)
    assert contact[0] > 5 * contact[-1]


def test_a_mirrored_mammogram_is_prepared_like_the_one_it_mirrors() -> None:
    left, right = prepare(draw_mammogram(Side.LEFT)), prepare(draw_mammogram(Side.RIGHT))
    assert left.image_HW.shape == right.image_HW.shape
    difference_HW = np.abs(left.image_HW.astype(int) - right.image_HW.astype(int))
    assert np.mean(difference_HW > 0.01 * FULL_SCALE) < 0.002


def test_a_label_outside_the_breast_is_blacked_out() -> None:
    prepared = prepare(draw_mammogram())
    assert not prepared.image_HW[~prepared.breast_HW].any()
    # The label is eight times as bright as the tissue: had it counted, the breast would be dark.
    assert np.median(prepared.image_HW[prepared.breast_HW]) > 0.3 * FULL_SCALE


def test_the_percentiles_of_the_breast_span_the_full_scale() -> None:
    prepared = prepare(draw_mammogram())
    inside = prepared.image_HW[prepared.breast_HW]
    assert prepared.image_HW.dtype == np.uint16
    assert inside.max() == FULL_SCALE
    assert 0.004 < np.mean(inside == FULL_SCALE) < 0.008
    assert 0.002 < np.mean(inside == 0) < 0.02


def test_a_large_picture_is_shrunk_to_the_long_side_with_its_proportions() -> None:
    prepared = prepare(draw_mammogram(), long_side_px=256)
    _, _, height, width = prepared.geometry.box
    assert max(prepared.image_HW.shape) == 256
    assert prepared.image_HW.shape[1] / prepared.image_HW.shape[0] == pytest.approx(width / height, rel=0.01)


def test_a_small_picture_is_not_enlarged() -> None:
    prepared = prepare(draw_mammogram(height=300, width=240))
    assert prepared.image_HW.shape == prepared.geometry.box[2:]


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("long_side_px", [1024, 300])
def test_a_label_map_comes_back_onto_the_pixels_it_came_from(side: Side, long_side_px: int) -> None:
    mammogram = draw_mammogram(side)
    labels_HW = np.zeros(mammogram.pixels_HW.shape, np.uint8)
    labels_HW[400:500, 100:200] = 2
    labels_HW[300:350, 50:90] = 3
    labels_HW = labels_HW if side is Side.LEFT else labels_HW[:, ::-1]
    geometry = prepare(mammogram, long_side_px).geometry
    returned_HW = geometry.to_source(geometry.labels_from_source(labels_HW))
    assert returned_HW.shape == labels_HW.shape
    differing_HW = returned_HW != labels_HW
    # Only pixels at the edge of a label may differ, and none when the scale is 1.
    near_edge_HW = ndimage.grey_dilation(labels_HW, 7) != ndimage.grey_erosion(labels_HW, 7)
    assert not (differing_HW & ~near_edge_HW).any()
    assert long_side_px != 1024 or not differing_HW.any()


def test_shrinking_keeps_the_area_in_square_millimetres() -> None:
    geometry = prepare(draw_mammogram(), long_side_px=200).geometry
    spacing = geometry.prepared_spacing(Spacing(row_mm=0.1, column_mm=0.1))
    rows, columns = geometry.prepared_shape
    _, _, height, width = geometry.box
    assert spacing.pixel_area_mm2 * rows * columns == pytest.approx(0.1 * 0.1 * height * width)


def test_a_breast_without_contrast_is_refused() -> None:
    pixels_HW = np.zeros((300, 300), np.float32)
    pixels_HW[50:250, :150] = 100
    mammogram = Mammogram(pixels_HW=pixels_HW)
    with pytest.raises(NotMammogramError, match="no contrast"):
        prepare(mammogram)
