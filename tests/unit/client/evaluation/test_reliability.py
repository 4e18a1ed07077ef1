"""The probability of dense tissue, held against the expert's mask."""

from __future__ import annotations

import numpy as np
import pytest

from client.evaluation.reliability import reliability


def test_a_breast_of_four_pixels_is_binned_by_hand() -> None:
    probability_HW = np.array([[0.02, 0.08, 0.95], [1.0, 0.5, 0.0]], np.float32)
    dense_HW = np.array([[False, True, True], [True, False, False]])
    breast_HW = np.array([[True, True, True], [True, False, False]])

    found = reliability(probability_HW, dense_HW, breast_HW)

    assert found is not None
    # 0.02 and 0.08 lie in the first bin, 0.95 and 1 in the last; 0.5 and the second 0 outside the breast.
    assert found.share_B.tolist() == [0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0.5]
    assert found.probability_B[[0, 9]] == pytest.approx([0.1 / 4, 1.95 / 4], abs=1e-6)
    assert found.frequency_B[[0, 9]] == pytest.approx([1 / 4, 2 / 4])
    assert found.brier == pytest.approx((0.02**2 + 0.92**2 + 0.05**2 + 0) / 4, abs=1e-6)


def test_an_image_without_a_breast_says_nothing() -> None:
    empty_HW = np.zeros((2, 2), bool)

    assert reliability(np.zeros((2, 2), np.float32), empty_HW, empty_HW) is None
