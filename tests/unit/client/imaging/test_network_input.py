"""Fitting to a network's size and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from client.imaging.network_input import fit, fit_labels, unfit
from client.imaging.preparation import FULL_SCALE

SHAPES = [(1024, 400), (400, 400), (300, 900), (37, 53), (1, 700)]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_keeps_its_proportions_and_is_padded_below_and_at_the_right(shape: tuple[int, int]) -> None:
    fitted = fit(np.full(shape, FULL_SCALE, np.uint16), 256, 128)
    assert fitted.shape == (1, 256, 128)
    assert fitted.dtype == torch.float32
    filled = (fitted[0] > 0.999).numpy()
    rows, columns = int(filled[:, 0].sum()), int(filled[0].sum())
    assert filled[:rows, :columns].all()
    assert not fitted[0, rows:].any()
    assert not fitted[0, :, columns:].any()
    scale = min(256 / shape[0], 128 / shape[1])
    assert abs(rows - shape[0] * scale) <= 1
    assert abs(columns - shape[1] * scale) <= 1


def test_values_stay_between_zero_and_one() -> None:
    image_HW = np.random.default_rng(1).integers(0, FULL_SCALE + 1, (513, 311)).astype(np.uint16)
    fitted = fit(image_HW, 128, 64)
    assert 0 <= fitted.min() < fitted.max() <= 1
    # The width fits first: 64 of 64 columns and 513 * 64 / 311 = 106 of 128 rows are filled.
    assert fitted.mean() == pytest.approx(image_HW.mean() / FULL_SCALE * 106 / 128, rel=0.02)


def test_a_label_map_lies_on_its_image() -> None:
    labels_HW = np.zeros((600, 300), np.uint8)
    labels_HW[100:300, 50:200] = 2
    image = fit(np.where(labels_HW == 2, FULL_SCALE, 0).astype(np.uint16), 192, 128)
    fitted_HW = fit_labels(labels_HW, 192, 128)
    assert fitted_HW.dtype == np.uint8
    assert np.mean((image[0].numpy() > 0.5) != (fitted_HW == 2)) < 0.002


@pytest.mark.parametrize("shape", SHAPES[:-1])
def test_what_was_fitted_comes_back_where_it_was(shape: tuple[int, int]) -> None:
    labels_HW = np.zeros(shape, np.uint8)
    labels_HW[shape[0] // 4 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = 1
    scores_CHW = torch.from_numpy(fit_labels(labels_HW, 256, 256)).float()[None]
    returned_HW = (unfit(scores_CHW, *shape)[0] > 0.5).numpy()
    assert returned_HW.shape == shape
    both = (returned_HW & (labels_HW == 1)).sum()
    assert 2 * both / (returned_HW.sum() + labels_HW.sum()) > 0.97


def test_no_new_class_appears_between_two_others() -> None:
    labels_HW = np.repeat(np.array([[0, 3]], np.uint8), 50, axis=0).repeat(25, axis=1)
    assert set(np.unique(fit_labels(labels_HW, 33, 33))) == {0, 3}
