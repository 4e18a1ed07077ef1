"""Noise: normal to a fine test, and never the same twice."""

from __future__ import annotations

import numpy as np
from scipy.stats import kstest

from shared.normal_noise import Chance

KEY = bytes(range(32))


def test_numbers_are_normal() -> None:
    numbers = Chance(KEY).normal(200_001)

    assert numbers.shape == (200_001,)
    assert kstest(numbers, "norm").pvalue > 0.01
    assert abs(np.mean(numbers[1:] * numbers[:-1])) < 0.01
    assert np.abs(numbers).max() > 4


def test_uniform_numbers_lie_above_0_and_are_at_most_1() -> None:
    numbers = Chance(KEY).uniform(100_000)

    assert kstest(numbers, "uniform").pvalue > 0.01
    assert numbers.min() > 0
    assert numbers.max() <= 1
    # A step of 2^-53 is told apart: fewer bits would show in the last ones.
    assert len(np.unique((numbers * 2**53).astype(np.int64) % 1024)) == 1024


def test_two_streams_have_nothing_in_common() -> None:
    first, second = Chance().normal(1000), Chance().normal(1000)

    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2
    assert not np.intersect1d(first, second).size
