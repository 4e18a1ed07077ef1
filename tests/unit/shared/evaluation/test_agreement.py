"""Agreement from paired moments, with numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from shared.evaluation.agreement import (
    absolute_differences,
    calibration_error,
    correlation,
    differences,
    limits_of_agreement,
    quadratic_kappa,
)
from shared.evaluation.records import NUM_BINS, Calibration, PairedMoments, ReliabilityBin

# Measured 10, 20, 30 % and by the expert 12, 18, 33 %: deviations -10, 0, 10 and -9, -3, 12.
PAIRS = PairedMoments(
    num_images=3,
    mean_measured=20.0,
    mean_expert=21.0,
    variance_measured=200 / 3,
    variance_expert=78.0,
    covariance=70.0,
    mean_absolute_difference=7 / 3,
)


def calibration(bins: dict[int, tuple[float, float, float]]) -> Calibration:
    """Bins of share, probability and frequency by place."""
    told = {
        place: ReliabilityBin(num_images=9, share=share, probability=probability, frequency=frequency)
        for place, (share, probability, frequency) in bins.items()
    }
    return Calibration(
        num_images=9, mean=0.1, variance=0.0, bins=tuple(told.get(place) for place in range(NUM_BINS))
    )


def test_pearsons_r_is_the_covariance_over_both_spreads() -> None:
    assert correlation(PAIRS) == pytest.approx(70 / math.sqrt(5200))  # 0.9707


def test_two_images_have_no_correlation_for_it_would_be_1_or_minus_1() -> None:
    assert correlation(PAIRS.model_copy(update={"num_images": 2})) is None
    assert correlation(PAIRS.model_copy(update={"num_images": 3})) is not None


def test_there_is_no_correlation_with_what_does_not_vary() -> None:
    assert correlation(PAIRS.model_copy(update={"variance_expert": 0.0, "covariance": 0.0})) is None


def test_the_limits_of_agreement_lie_1_96_standard_deviations_around_the_bias() -> None:
    # Differences -2, 2, -3: mean -1, squared deviations 1, 9, 4, so that the standard deviation is root 7.
    limits = limits_of_agreement(PAIRS)

    assert differences(PAIRS).mean == -1
    assert differences(PAIRS).variance == pytest.approx(14 / 3)
    assert limits == pytest.approx((-1 - 1.959964 * math.sqrt(7), -1 + 1.959964 * math.sqrt(7)))


def test_one_image_has_no_limits_of_agreement() -> None:
    assert limits_of_agreement(PAIRS.model_copy(update={"num_images": 1})) is None


def test_absolute_differences_have_the_mean_and_the_spread_of_the_differences_without_sign() -> None:
    # 2, 2, 3: mean 7/3, mean square 17/3.
    errors = absolute_differences(PAIRS)

    assert errors.mean == pytest.approx(7 / 3)
    assert errors.variance == pytest.approx(17 / 3 - 49 / 9)


def test_the_calibration_error_is_the_mean_distance_by_share() -> None:
    # 0.75 * |0.05 - 0.15| + 0.25 * |0.95 - 0.75|
    assert calibration_error(calibration({0: (0.75, 0.05, 0.15), 9: (0.25, 0.95, 0.75)})) == pytest.approx(
        0.125
    )


def test_a_bin_that_is_not_told_takes_no_part_in_the_calibration_error() -> None:
    assert calibration_error(calibration({9: (0.25, 0.95, 0.75)})) == pytest.approx(0.2)
    assert calibration_error(calibration({})) is None


def by_table(table: list[list[int]]) -> tuple[float, PairedMoments]:
    """Quadratic kappa by its definition from a table of counts, and the moments of the same images."""
    counts = np.array(table, dtype=np.float64)
    places = np.arange(len(counts))
    weights = (places[:, None] - places) ** 2
    chance = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    pairs = [(i, j) for i in places for j in places for _ in range(table[i][j])]
    measured, expert = np.array(pairs, dtype=np.float64).T
    moments = PairedMoments(
        num_images=len(pairs),
        mean_measured=measured.mean(),
        mean_expert=expert.mean(),
        variance_measured=measured.var(),
        variance_expert=expert.var(),
        covariance=np.cov(measured, expert, bias=True)[0, 1],
        mean_absolute_difference=np.abs(measured - expert).mean(),
    )
    return float(1 - (weights * counts).sum() / (weights * chance).sum()), moments


def test_quadratic_kappa_needs_no_table() -> None:
    # Two categories of 25 images: 5 disagree; by chance (10 * 12 + 15 * 13) / 25 = 12.6 would.
    expected, pairs = by_table([[9, 1], [4, 11]])

    assert expected == pytest.approx(1 - 5 / 12.6)
    assert quadratic_kappa(pairs) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "table",
    [
        [[5, 2, 0, 0], [1, 20, 6, 0], [0, 4, 18, 3], [0, 0, 2, 6]],
        [[0, 0, 0, 5], [0, 0, 5, 0], [0, 5, 0, 0], [5, 0, 0, 0]],
        [[7, 0, 0, 0], [0, 8, 0, 0], [0, 0, 9, 0], [0, 0, 0, 5]],
    ],
)
def test_kappa_of_four_categories_is_that_of_their_table(table: list[list[int]]) -> None:
    expected, pairs = by_table(table)

    assert quadratic_kappa(pairs) == pytest.approx(expected, abs=1e-12)


def test_kappa_of_one_category_is_not_defined() -> None:
    assert quadratic_kappa(by_table([[9, 0], [0, 1]])[1]) == pytest.approx(1)
    same = by_table([[9, 0], [0, 1]])[1].model_copy(
        update={"variance_measured": 0.0, "variance_expert": 0.0, "covariance": 0.0, "mean_expert": 0.1}
    )
    assert quadratic_kappa(same.model_copy(update={"mean_measured": 0.1})) is None
