"""Distances between outlines."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance

from client.evaluation.surfaces import SurfaceDistance, surface_distance

Mask = npt.NDArray[np.bool_]


def mask(*rows: str) -> Mask:
    return np.array([[cell == "#" for cell in row] for row in rows])


def blob(random: np.random.Generator) -> Mask:
    """An ellipse with a hole, somewhere."""
    rows, columns = np.mgrid[:60, :50]
    centre, radii = random.uniform(20, 35, 2), random.uniform(8, 18, 2)
    away = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2
    found: Mask = (away < 1) & (away > 0.05)
    return found


def test_the_distance_is_that_of_the_pixel_that_lies_farthest_away() -> None:
    measured_HW = mask("##......", "........")
    expert_HW = mask("##.....#", "........")

    # The expert's lone pixel is six columns from the nearest measured one; measured ones lie on the expert's.
    assert surface_distance(measured_HW, expert_HW).maximum == 6


def test_both_ways_count() -> None:
    measured_HW, expert_HW = mask("##.....#"), mask("##......")

    assert surface_distance(measured_HW, expert_HW) == surface_distance(expert_HW, measured_HW)


def test_the_95th_percentile_leaves_a_far_pixel_out() -> None:
    expert_HW = np.zeros((30, 100), bool)
    expert_HW[1, :50] = True
    measured_HW = expert_HW.copy()
    measured_HW[1, 99] = True  # one of 51

    # Of 51 ordered distances the 95th percentile is the 48.5th: zero.
    assert surface_distance(measured_HW, expert_HW) == SurfaceDistance(percentile_95=0, maximum=50)


def test_a_hole_has_an_outline_too() -> None:
    whole_HW = np.ones((9, 9), bool)
    holed_HW = whole_HW.copy()
    holed_HW[4, 4] = False

    # The four pixels around the hole are four pixels from the border less one row.
    assert surface_distance(holed_HW, whole_HW).maximum == 3


def test_rows_and_columns_have_their_own_spacing() -> None:
    measured_HW, expert_HW = mask("#...", "....", "...."), mask("....", "....", "...#")

    # Two rows of 0.5 and three columns of 0.2.
    assert surface_distance(measured_HW, expert_HW, (0.5, 0.2)).maximum == pytest.approx(np.hypot(1.0, 0.6))


def test_two_empty_masks_agree() -> None:
    empty_HW = np.zeros((3, 4), bool)

    assert surface_distance(empty_HW, empty_HW) == SurfaceDistance(percentile_95=0, maximum=0)


def test_an_empty_mask_beside_one_that_is_not_is_as_far_away_as_the_image_reaches() -> None:
    empty_HW, expert_HW = np.zeros((3, 4), bool), mask("....", ".#..", "....")

    far = SurfaceDistance(percentile_95=5, maximum=5)
    assert surface_distance(empty_HW, expert_HW) == far
    assert surface_distance(expert_HW, empty_HW) == far
    assert surface_distance(empty_HW, expert_HW, (2.0, 2.0)).maximum == 10


@pytest.mark.filterwarnings("ignore:monai.metrics.utils:FutureWarning")
@pytest.mark.parametrize("seed", range(6))
def test_distances_are_those_of_monai(seed: int) -> None:
    random = np.random.default_rng(seed)
    measured_HW, expert_HW = blob(random), blob(random)
    spacing = (0.4, 0.25)

    found = surface_distance(measured_HW, expert_HW, spacing)

    both = [torch.from_numpy(each)[None, None] for each in (measured_HW, expert_HW)]
    for value, percentile in ((found.maximum, None), (found.percentile_95, 95)):
        expected = compute_hausdorff_distance(
            *both, include_background=True, percentile=percentile, spacing=list(spacing)
        )
        assert value == pytest.approx(expected.item(), abs=1e-5)
