"""Onto a network's canvas and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from client.imaging.mammogram import Spacing
from client.imaging.network_input import Frame, frame_of
from client.imaging.preparation import FULL_SCALE
from shared.plan import ModelPlan

SHAPES = [(1024, 400), (400, 400), (300, 900), (37, 53), (1, 700)]


def fitted(shape: tuple[int, int], height: int, width: int) -> Frame:
    return frame_of(shape, None, ModelPlan(input_height_px=height, input_width_px=width))


def scaled(shape: tuple[int, int], spacing_mm: float, pixel_mm: float) -> Frame:
    plan = ModelPlan(input_height_px=256, input_width_px=128, pixel_mm=pixel_mm)
    return frame_of(shape, Spacing(row_mm=spacing_mm, column_mm=spacing_mm), plan)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_keeps_its_proportions_and_is_padded_below_and_at_the_right(shape: tuple[int, int]) -> None:
    canvas = fitted(shape, 256, 128).image(np.full(shape, FULL_SCALE, np.uint16))
    assert canvas.shape == (1, 256, 128)
    assert canvas.dtype == torch.float32
    filled = (canvas[0] > 0.999).numpy()
    rows, columns = int(filled[:, 0].sum()), int(filled[0].sum())
    assert filled[:rows, :columns].all()
    assert not canvas[0, rows:].any()
    assert not canvas[0, :, columns:].any()
    scale = min(256 / shape[0], 128 / shape[1])
    assert abs(rows - shape[0] * scale) <= 1
    assert abs(columns - shape[1] * scale) <= 1


def test_values_stay_between_zero_and_one() -> None:
    image_HW = np.random.default_rng(1).integers(0, FULL_SCALE + 1, (513, 311)).astype(np.uint16)
    canvas = fitted((513, 311), 128, 64).image(image_HW)
    assert 0 <= canvas.min() < canvas.max() <= 1
    # The width fits first: 64 of 64 columns and 513 * 64 / 311 = 106 of 128 rows are filled.
    assert canvas.mean() == pytest.approx(image_HW.mean() / FULL_SCALE * 106 / 128, rel=0.02)


def test_a_label_map_lies_on_its_image() -> None:
    labels_HW = np.zeros((600, 300), np.uint8)
    labels_HW[100:300, 50:200] = 2
    frame = fitted((600, 300), 192, 128)
    image = frame.image(np.where(labels_HW == 2, FULL_SCALE, 0).astype(np.uint16))
    canvas_HW = frame.labels(labels_HW)
    assert canvas_HW.dtype == np.uint8
    assert np.mean((image[0].numpy() > 0.5) != (canvas_HW == 2)) < 0.002


@pytest.mark.parametrize("shape", SHAPES[:3])
@pytest.mark.parametrize("pixel_mm", [None, 0.4])
def test_what_was_shown_comes_back_where_it_was(shape: tuple[int, int], pixel_mm: float | None) -> None:
    labels_HW = np.zeros(shape, np.uint8)
    labels_HW[shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 1
    plan = ModelPlan(input_height_px=256, input_width_px=256, pixel_mm=pixel_mm)
    frame = frame_of(shape, Spacing(row_mm=0.2, column_mm=0.2), plan)
    scores_CHW = torch.from_numpy(frame.labels(labels_HW)).float()[None]
    returned_HW = (frame.to_picture(scores_CHW)[0] > 0.5).numpy()
    assert returned_HW.shape == shape
    both = (returned_HW & (labels_HW == 1)).sum()
    assert 2 * both / (returned_HW.sum() + labels_HW.sum()) > 0.97


def test_no_new_class_appears_between_two_others() -> None:
    labels_HW = np.repeat(np.array([[0, 3]], np.uint8), 50, axis=0).repeat(25, axis=1)
    assert set(np.unique(fitted((50, 50), 64, 64).labels(labels_HW))) == {0, 3}


def test_where_the_spacing_is_known_two_breasts_of_one_size_take_the_same_room_whatever_their_pixels() -> (
    None
):
    # 180 mm x 60 mm at 0.9 mm a pixel.
    assert scaled((900, 300), 0.2, 0.9).scaled == (200, 67)
    assert scaled((450, 150), 0.4, 0.9).scaled == (200, 67)
    assert scaled((450, 150), 0.4, 0.9).canvas == (256, 128)


def test_where_the_spacing_is_unknown_the_picture_is_fitted() -> None:
    plan = ModelPlan(input_height_px=256, input_width_px=128, pixel_mm=0.9)
    assert frame_of((900, 300), None, plan).scaled == (256, 85)


def test_a_breast_that_is_larger_than_the_input_gets_a_larger_canvas() -> None:
    frame = scaled((1000, 900), 0.2, 0.5)
    assert frame.scaled == (400, 360)
    assert frame.canvas == (400, 360)
    # Only to the side where it does not fit.
    assert scaled((1000, 100), 0.2, 0.5).canvas == (400, 128)


def test_pixels_that_are_not_square_are_made_square() -> None:
    plan = ModelPlan(input_height_px=256, input_width_px=128, pixel_mm=1.0)
    assert frame_of((400, 400), Spacing(row_mm=0.5, column_mm=0.25), plan).scaled == (200, 100)
