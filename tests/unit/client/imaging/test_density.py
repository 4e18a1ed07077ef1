"""Percent density, areas and bands."""

from __future__ import annotations

import numpy as np
import pytest

from client.imaging.density import bands_in_words, density_band, measure_density
from client.imaging.example import Label
from client.imaging.mammogram import Spacing

# 2 dense, 6 adipose, 4 pectoral, 4 background pixels.
LABELS_HW = np.array([[0, 0, 1, 1], [2, 2, 1, 1], [3, 3, 1, 1], [3, 3, 0, 0]], np.uint8)


def test_the_pectoral_muscle_is_no_part_of_the_breast_area() -> None:
    density = measure_density(LABELS_HW, None)
    assert density is not None
    assert density.percent_density == 25.0


def test_areas_are_in_square_millimetres_of_the_spacing() -> None:
    density = measure_density(LABELS_HW, Spacing(row_mm=0.5, column_mm=2.0))
    assert density is not None
    assert density.dense_area_mm2 == 2.0
    assert density.breast_area_mm2 == 8.0


def test_without_spacing_areas_are_unknown_and_percent_density_is_not() -> None:
    density = measure_density(LABELS_HW, None)
    assert density is not None
    assert density.dense_area_mm2 is None
    assert density.breast_area_mm2 is None


def test_a_label_map_without_breast_has_no_density() -> None:
    assert measure_density(np.full((3, 3), Label.PECTORAL, np.uint8), None) is None


@pytest.mark.parametrize(
    ("percent", "band"),
    [(0, "a"), (7.99, "a"), (8, "b"), (21.9, "b"), (22, "c"), (44.9, "c"), (45, "d"), (100, "d")],
)
def test_bands_begin_at_their_cut_points(percent: float, band: str) -> None:
    assert density_band(percent) == band


def test_the_bands_are_printed_with_their_cut_points_and_called_uncalibrated() -> None:
    words = bands_in_words()
    assert "uncalibrated" in words
    assert all(f"{cut} %" in words for cut in (8, 22, 45))
