"""Intervals by resampling patients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from client.evaluation.bootstrap import MIN_PATIENTS, Resampling

Values = npt.NDArray[np.float64]


def first(means: Values) -> Values:
    return means[:, 0]


def everybody(count: int) -> npt.NDArray[np.bool_]:
    return np.ones(count, bool)


def test_the_interval_of_a_mean_comes_near_to_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(50, 10, 400)
    patients = [f"patient-{place}" for place in range(400)]

    low, high = Resampling(patients, seed=3).interval(everybody(400), values[:, None], first)

    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.15)
    assert high == pytest.approx(values.mean() + half, abs=0.15)


def test_four_equal_images_of_a_patient_make_the_mean_no_more_certain_than_one() -> None:
    values = np.random.default_rng(1).normal(50, 10, 100)
    once = [f"patient-{place}" for place in range(100)]
    four_times = [name for name in once for _ in range(4)]

    one = Resampling(once, seed=3).interval(everybody(100), values[:, None], first)
    four = Resampling(four_times, seed=3).interval(everybody(400), values.repeat(4)[:, None], first)

    assert one is not None
    assert four == pytest.approx(one, abs=1e-9)


def test_the_same_seed_gives_the_same_interval_and_ends_are_rounded() -> None:
    values = np.random.default_rng(1).random(50)[:, None]
    patients = [f"patient-{place}" for place in range(50)]

    found = Resampling(patients, seed=3).interval(everybody(50), values, first)

    assert found == Resampling(patients, seed=3).interval(everybody(50), values, first)
    assert found != Resampling(patients, seed=4).interval(everybody(50), values, first)
    assert found == tuple(round(end, 3) for end in found)


def test_so_few_patients_that_the_ends_would_be_their_own_values_have_no_interval() -> None:
    patients = [f"patient-{place % (MIN_PATIENTS - 1)}" for place in range(40)]

    assert Resampling(patients, seed=0).interval(everybody(40), np.arange(40.0)[:, None], first) is None


def test_only_the_patients_of_images_with_the_value_are_counted() -> None:
    patients = [f"patient-{place}" for place in range(20)]
    few = everybody(20)
    few[MIN_PATIENTS - 1 :] = False

    values = np.arange(MIN_PATIENTS - 1.0)[:, None]
    assert Resampling(patients, seed=0).interval(few, values, first) is None


def test_a_statistic_that_is_rarely_defined_has_no_interval() -> None:
    patients = [f"patient-{place}" for place in range(20)]

    def undefined(means: Values) -> Values:
        return np.full(len(means), np.nan)

    assert Resampling(patients, seed=0).interval(everybody(20), np.ones((20, 1)), undefined) is None
