"""Intervals of means keep within what values can be."""

from __future__ import annotations

import math

import pytest

from shared.evaluation.bounds import NONE, PERCENT, SHARE, interval_of_mean
from shared.evaluation.pooling import pool
from shared.evaluation.records import Evaluation, Moments, PercentDensity, SegmentMoments


def test_an_interval_of_a_share_is_that_of_its_logit_brought_back() -> None:
    # logit 0.8 = ln 4; its standard error by the delta method 0.08 / (0.8 * 0.2) = 0.5.
    ends = [1 / (1 + math.exp(-(math.log(4) + side * 1.959964 * 0.5))) for side in (-1, 1)]

    assert interval_of_mean(0.8, 0.08, SHARE) == pytest.approx(ends, abs=1e-6)
    assert interval_of_mean(80.0, 8.0, PERCENT) == pytest.approx([100 * end for end in ends], abs=1e-4)


def test_far_from_its_bounds_and_sure_it_is_the_normal_one() -> None:
    assert interval_of_mean(0.5, 0.001, SHARE) == pytest.approx(interval_of_mean(0.5, 0.001, NONE), abs=1e-6)


@pytest.mark.parametrize("mean", [0.0, 1.0, 1 + 1e-12, 0.4])
def test_without_spread_it_is_a_point_that_can_be(mean: float) -> None:
    assert interval_of_mean(mean, 0.0, SHARE) == (min(mean, 1.0), min(mean, 1.0))


@pytest.mark.parametrize("standard_error", [0.1, 10.0, 1e300])
def test_it_keeps_within_the_bounds_however_unsure(standard_error: float) -> None:
    low, high = interval_of_mean(0.97, standard_error, SHARE)

    assert 0 <= low < 0.97 < high <= 1


def test_of_few_images_no_pooled_interval_leaves_what_can_be() -> None:
    few = Moments(num_images=2, mean=0.9, variance=0.01)
    told = Evaluation.model_validate(
        {
            "num_examples": 2,
            "dice": SegmentMoments(dense=few, breast=few, pectoral=None),
            "percent_density": PercentDensity(
                num_images=2,
                mean_measured=3.0,
                mean_expert=1.0,
                variance_measured=9.0,
                variance_expert=1.0,
                covariance=3.0,
                mean_absolute_difference=2.0,
            ),
        }
    )

    pooled = pool([told])

    assert pooled is not None
    assert pooled.dice is not None
    assert pooled.dice.dense is not None
    assert pooled.dice.dense.interval is not None
    assert pooled.dice.dense.interval[1] <= 1
    assert pooled.percent_density is not None
    assert pooled.percent_density.error_interval is not None
    assert pooled.percent_density.error_interval[0] >= 0
