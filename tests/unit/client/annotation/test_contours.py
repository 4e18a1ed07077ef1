"""A polygon drawn back is the mask it came from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw
from scipy import ndimage

from client.annotation.contours import Polygon, polygons_of, simplify

Mask = npt.NDArray[np.bool_]
CROSS = ndimage.generate_binary_structure(2, 1)


def draw_with_pillow(polygons: list[Polygon], shape: tuple[int, int]) -> Mask:
    """As LabelMe draws its polygons."""
    canvas = Image.new("1", (shape[1], shape[0]))
    pen = ImageDraw.Draw(canvas)
    for polygon in polygons:
        pen.polygon([tuple(point) for point in polygon.tolist()], fill=1, outline=1)
    return np.asarray(canvas).copy()


def draw_by_centres(polygons: list[Polygon], shape: tuple[int, int]) -> Mask:
    """Even-odd rule at the centre of each pixel."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside_HW = np.zeros(shape, bool)
    for polygon in polygons:
        crossings_HW = np.zeros(shape, int)
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            crosses_HW = (y0 <= y) != (y1 <= y)
            if y0 != y1:
                crossings_HW += crosses_HW & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
        inside_HW |= crossings_HW % 2 == 1
    return inside_HW


def dice(one: Mask, other: Mask) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def blobs(seed: int, shape: tuple[int, int], scale_px: float, share: float) -> Mask:
    noise_HW = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), scale_px)
    return np.asarray(noise_HW > np.quantile(noise_HW, 1 - share))


def test_the_outline_of_a_rectangle_lies_within_its_outermost_pixels() -> None:
    mask_HW = np.zeros((9, 12), bool)
    mask_HW[2:6, 3:10] = True
    (polygon,) = polygons_of(mask_HW, max_error_px=0)
    assert polygon[:, 0].min() == pytest.approx(3.05)
    assert polygon[:, 0].max() == pytest.approx(9.95)
    assert polygon[:, 1].min() == pytest.approx(2.05)
    assert polygon[:, 1].max() == pytest.approx(5.95)
    assert len(polygons_of(mask_HW)[0]) == 4


def test_nothing_gives_no_polygon_and_a_full_picture_one() -> None:
    assert polygons_of(np.zeros((5, 4), bool)) == []
    full_HW = np.ones((5, 4), bool)
    assert (draw_with_pillow(polygons_of(full_HW), (5, 4)) == full_HW).all()


def test_a_single_pixel_does_not_vanish() -> None:
    mask_HW = np.zeros((5, 4), bool)
    mask_HW[3, 2] = True
    polygons = polygons_of(mask_HW)
    assert (draw_with_pillow(polygons, mask_HW.shape) == mask_HW).all()
    assert (draw_by_centres(polygons, mask_HW.shape) == mask_HW).all()


def test_regions_that_touch_at_a_corner_are_two_polygons() -> None:
    assert len(polygons_of(np.eye(3, dtype=bool))) == 3


def test_a_hole_stays_open_and_costs_no_second_polygon() -> None:
    y, x = np.mgrid[:80, :80]
    radius_HW = np.hypot(y - 40, x - 40)
    ring_HW = (radius_HW < 35) & (radius_HW > 15) & (np.hypot(y - 40, x - 65) > 5)
    polygons = polygons_of(ring_HW)
    assert len(polygons) == 1
    assert dice(draw_by_centres(polygons, ring_HW.shape), ring_HW) >= 0.995
    assert not draw_with_pillow(polygons, ring_HW.shape)[40, 40]


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14))))
def test_without_simplification_any_mask_comes_back_pixel_for_pixel(mask_HW: Mask) -> None:
    polygons = polygons_of(mask_HW, max_error_px=0)
    assert len(polygons) == ndimage.label(mask_HW, CROSS)[1]
    assert (draw_by_centres(polygons, mask_HW.shape) == mask_HW).all()


@pytest.mark.parametrize(("scale_px", "share"), [(12.0, 0.3), (12.0, 0.7), (6.0, 0.5)])
def test_simplified_polygons_of_large_and_holed_regions_come_back_by_dice(
    scale_px: float, share: float
) -> None:
    mask_HW = blobs(1, (500, 400), scale_px, share)
    polygons = polygons_of(mask_HW)
    assert dice(draw_with_pillow(polygons, mask_HW.shape), mask_HW) >= 0.99
    assert dice(draw_by_centres(polygons, mask_HW.shape), mask_HW) >= 0.995


def test_simplification_leaves_no_vertex_further_away_than_allowed() -> None:
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    circle = 100 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    simple = simplify(circle, 0.5)
    assert len(simple) < 80
    # The sagitta of a circle's chord is the largest error.
    chords = np.hypot(*(simple - np.roll(simple, -1, axis=0)).T)
    assert (100 - np.sqrt(100**2 - (chords / 2) ** 2)).max() <= 0.5 + 1e-9
