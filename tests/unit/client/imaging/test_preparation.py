"""Preparation: orientation, crop, grey values, and the way back to the source."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from client.imaging.mammogram import Mammogram, Side, Spacing
from client.imaging.preparation import FULL_SCALE, LONG_SIDE_PX, MAX_LONG_SIDE_PX, PIXEL_MM, prepare
from shared.errors import NotMammogramError


def draw_mammogram(
    side: Side = Side.LEFT, height: int = 900, width: int = 700, spacing: Spacing | None = None
) -> Mammogram:
    """A breast with a gradient, and a bright label outside of it."""
    y, x = np.mgrid[:height, :width]
    breast_HW = ((y - height / 2) / (0.4 * height)) ** 2 + (x / (0.6 * width)) ** 2 < 1
    pixels_HW = np.where(breast_HW, 500 + x, 0)
    pixels_HW[20:50, -90:-20] = 4000
    if side is Side.RIGHT:
        pixels_HW = pixels_HW[:, ::-1]
    return Mammogram(pixels_HW=pixels_HW.astype(np.float32), spacing=spacing)


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


@pytest.mark.parametrize("spacing_mm", [0.05, 0.07, 0.1, 0.2])
def test_a_picture_of_known_spacing_gets_pixels_of_one_size(spacing_mm: float) -> None:
    spacing = Spacing(row_mm=spacing_mm, column_mm=spacing_mm)
    prepared = prepare(draw_mammogram(spacing=spacing))
    shown = prepared.geometry.prepared_spacing(spacing)
    # Half a pixel of the shorter side, here of 105 to 420 pixels, may be lost in rounding.
    assert shown.row_mm == pytest.approx(PIXEL_MM, rel=0.005)
    assert shown.column_mm == pytest.approx(PIXEL_MM, rel=0.005)


def test_oblong_pixels_come_out_square() -> None:
    spacing = Spacing(row_mm=0.05, column_mm=0.1)
    geometry = prepare(draw_mammogram(spacing=spacing)).geometry
    _, _, height, width = geometry.box
    # A row is 0.05 mm of 0.2 and a column 0.1 mm of 0.2.
    assert geometry.prepared_shape == (round(height / 4), round(width / 2))


def test_the_coarser_side_of_oblong_pixels_is_not_enlarged() -> None:
    spacing = Spacing(row_mm=0.1, column_mm=0.3)
    geometry = prepare(draw_mammogram(spacing=spacing)).geometry
    _, _, height, width = geometry.box
    assert geometry.prepared_shape == (round(height / 3), width)


def test_a_wrong_spacing_does_not_make_a_huge_picture() -> None:
    spacing = Spacing(row_mm=1.0, column_mm=1.0)
    mammogram = draw_mammogram(height=3000, width=600, spacing=spacing)
    geometry = prepare(mammogram).geometry
    _, _, height, width = geometry.box
    assert geometry.prepared_shape == (MAX_LONG_SIDE_PX, round(width * MAX_LONG_SIDE_PX / height))


def test_a_large_picture_of_unknown_spacing_is_shrunk_to_the_long_side_with_its_proportions() -> None:
    prepared = prepare(draw_mammogram(height=1500, width=900))
    _, _, height, width = prepared.geometry.box
    assert max(prepared.image_HW.shape) == LONG_SIDE_PX
    assert prepared.image_HW.shape[1] / prepared.image_HW.shape[0] == pytest.approx(width / height, rel=0.01)


@pytest.mark.parametrize("spacing", [None, Spacing(row_mm=0.4, column_mm=0.4)])
def test_a_small_picture_is_not_enlarged(spacing: Spacing | None) -> None:
    prepared = prepare(draw_mammogram(height=300, width=240, spacing=spacing))
    assert prepared.image_HW.shape == prepared.geometry.box[2:]


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("shrinking", [1, 3])
def test_a_label_map_comes_back_onto_the_pixels_it_came_from(side: Side, shrinking: int) -> None:
    spacing = Spacing(row_mm=PIXEL_MM / shrinking, column_mm=PIXEL_MM / shrinking)
    mammogram = draw_mammogram(side, spacing=spacing)
    labels_HW = np.zeros(mammogram.pixels_HW.shape, np.uint8)
    labels_HW[400:500, 100:200] = 2
    labels_HW[300:350, 50:90] = 3
    labels_HW = labels_HW if side is Side.LEFT else labels_HW[:, ::-1]
    geometry = prepare(mammogram).geometry
    returned_HW = geometry.to_source(geometry.labels_from_source(labels_HW))
    assert returned_HW.shape == labels_HW.shape
    differing_HW = returned_HW != labels_HW
    # Only pixels at the edge of a label may differ, and none when the scale is 1.
    near_edge_HW = ndimage.grey_dilation(labels_HW, 7) != ndimage.grey_erosion(labels_HW, 7)
    assert not (differing_HW & ~near_edge_HW).any()
    assert shrinking > 1 or not differing_HW.any()


def test_an_image_and_its_label_map_stay_registered() -> None:
    spacing = Spacing(row_mm=0.07, column_mm=0.07)
    mammogram = draw_mammogram(Side.RIGHT, spacing=spacing)
    lesion_HW = np.zeros(mammogram.pixels_HW.shape, np.bool_)
    lesion_HW[400:500, 450:560] = True
    mammogram.pixels_HW[lesion_HW] = 3000
    prepared = prepare(mammogram)
    labels_HW = prepared.geometry.labels_from_source(lesion_HW)
    bright_HW = prepared.image_HW > 0.7 * FULL_SCALE
    assert 2 * (labels_HW & bright_HW).sum() / (labels_HW.sum() + bright_HW.sum()) > 0.95


def test_shrinking_keeps_the_area_in_square_millimetres() -> None:
    spacing = Spacing(row_mm=0.05, column_mm=0.07)
    geometry = prepare(draw_mammogram(spacing=spacing)).geometry
    rows, columns = geometry.prepared_shape
    _, _, height, width = geometry.box
    assert rows < height
    assert geometry.prepared_spacing(spacing).pixel_area_mm2 * rows * columns == pytest.approx(
        0.05 * 0.07 * height * width
    )


@pytest.mark.parametrize("outlier", [1.0, 1e6])
def test_the_percentiles_are_those_of_the_pixels(outlier: float) -> None:
    mammogram = draw_mammogram()
    noise_HW = np.random.default_rng(2).normal(0, 30, mammogram.pixels_HW.shape)
    pixels_HW = np.where(mammogram.pixels_HW > 0, mammogram.pixels_HW + noise_HW, 0).astype(np.float32)
    pixels_HW[450, 200] += outlier
    prepared = prepare(Mammogram(pixels_HW=pixels_HW))
    inside = prepared.geometry.crop(pixels_HW)[prepared.breast_HW]
    low, high = np.percentile(inside, (0.5, 99.5))
    expected = np.clip((inside - low) / (high - low), 0, 1) * FULL_SCALE
    # Within a level of the histogram: its range over 65535.
    tolerance = 1.01 * FULL_SCALE * np.ptp(inside) / 65535 / (high - low) + 1
    np.testing.assert_allclose(prepared.image_HW[prepared.breast_HW], expected, atol=tolerance)


def test_a_breast_without_contrast_is_refused() -> None:
    pixels_HW = np.zeros((300, 300), np.float32)
    pixels_HW[50:250, :150] = 100
    mammogram = Mammogram(pixels_HW=pixels_HW)
    with pytest.raises(NotMammogramError, match="no contrast"):
        prepare(mammogram)
