"""What sites tell together by sums alone is what pooling their statistics comes to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from shared import appearance
from shared.appearance import LEAST_IN_ALL, QUANTITIES, Appearance, describe
from shared.evaluation.pooling import pool
from shared.evaluation.records import (
    NUM_BINS,
    Calibration,
    DensityCategories,
    Evaluation,
    ExpectedBand,
    Hausdorff,
    Moments,
    PairedMoments,
    PercentDensity,
    Proportion,
    ReliabilityBin,
    SegmentMoments,
    SurfaceDistances,
)
from shared.evaluation.sums import num_numbers, rows_of, together
from shared.evaluation.together import Together
from shared.masking.metric_words import FRACTION_BITS, from_text, to_numbers, to_text, to_words
from shared.plan import METRIC_NAMES, MetricName

Values = npt.NDArray[np.float64]
PRECISION = 1e-6
"""Of the ends of intervals, the coarsest; means and variances are checked more closely below."""
UNPOOLED = ("num_in_rarest",)
"""A minimum is no sum."""


def moments(values: Values) -> Moments:
    return Moments(num_images=len(values), mean=float(values.mean()), variance=float(values.var()))


def pairs(measured: Values, expert: Values) -> dict[str, Any]:
    x, y = measured - measured.mean(), expert - expert.mean()
    return {
        "num_images": len(measured),
        "mean_measured": float(measured.mean()),
        "mean_expert": float(expert.mean()),
        "variance_measured": float((x * x).mean()),
        "variance_expert": float((y * y).mean()),
        "covariance": float((x * y).mean()),
        "mean_absolute_difference": float(np.abs(measured - expert).mean()),
    }


def proportion(is_true: npt.NDArray[np.bool_]) -> Proportion:
    return Proportion(num_images=len(is_true), num_in_rarest=1, share=float(is_true.mean()))


def calibration(random: np.random.Generator, count: int) -> Calibration:
    shares = random.dirichlet(np.ones(NUM_BINS))
    bins = [
        None
        if random.random() < 0.2
        else ReliabilityBin(
            num_images=int(random.integers(2, count + 1)),
            share=float(share),
            probability=(place + float(random.random())) / NUM_BINS,
            frequency=float(random.random()),
        )
        for place, share in enumerate(shares)
    ]
    return Calibration(**dict(moments(random.random(count))), bins=tuple(bins))


def site(seed: int, count: int) -> Evaluation:
    """All that a site can tell of so many images."""
    random = np.random.default_rng(seed)

    def segments(scale: float = 1.0) -> SegmentMoments:
        dense, breast, pectoral = (moments(scale * random.random(count)) for _ in range(3))
        return SegmentMoments(dense=dense, breast=breast, pectoral=pectoral)

    def distances() -> SurfaceDistances:
        return SurfaceDistances(percentile_95=segments(200.0), maximum=segments(2000.0))

    expert = (30 * random.random() + 70 * random.random(count)).clip(0, 100)
    measured = (expert + random.normal(1, 5, count)).clip(0, 100)
    read, band = (random.integers(0, 4, count).astype(np.float64) for _ in range(2))
    expected = (read + random.normal(0, 0.3, count)).clip(0, 3)
    return Evaluation(
        num_examples=count,
        loss=moments(random.gamma(2, 0.5, count)),
        dice=segments(),
        hausdorff=Hausdorff(mm=distances(), px=distances()),
        percent_density=PercentDensity(**pairs(measured, expert)),
        density_categories=DensityCategories(
            **pairs(band, read),
            num_in_rarest=1,
            agreement=proportion(band == read),
            second_read=proportion(random.random(count) < 0.3),
            ranked_probability=moments(random.random(count)),
            expected=ExpectedBand(**pairs(expected, read)),
        ),
        calibration=calibration(random, count),
    )


def looks(seed: int, count: int) -> Appearance:
    random, num = np.random.default_rng(seed), len(QUANTITIES)
    return describe(random.random(num) + random.standard_normal((count, num)) / 3, told=count)


def told_together(
    evaluations: Sequence[Evaluation],
    *,
    losses: Sequence[tuple[int, float] | None] | None = None,
    appearances: Sequence[Appearance | None] | None = None,
    asked: Sequence[MetricName] = METRIC_NAMES,
) -> Together:
    """By the words of each site, added up."""
    num_sites = len(evaluations)
    total = np.zeros(num_numbers(asked), np.uint64)
    for place, evaluation in enumerate(evaluations):
        rows = rows_of(
            asked,
            train_loss=losses[place] if losses else None,
            evaluation=evaluation,
            appearance=appearances[place] if appearances else None,
        )
        total += from_text(to_text(to_words(rows, num_sites=num_sites)))
    return together(asked, to_numbers(total), num_sites=num_sites)


def numbers_in(record: Any) -> Any:
    """All numbers of a record by name, but those that no sum has."""
    if isinstance(record, BaseModel):
        return {name: numbers_in(value) for name, value in record if name not in UNPOOLED}
    return [numbers_in(each) for each in record] if isinstance(record, tuple) else record


def close(found: Any, expected: Any) -> bool:
    """Whether two of such differ by no more than the stated precision."""
    if isinstance(expected, dict):
        return found is not None and all(close(found[name], value) for name, value in expected.items())
    if isinstance(expected, list):
        return found is not None and all(close(*both) for both in zip(found, expected, strict=True))
    return bool(found == (None if expected is None else pytest.approx(expected, rel=1e-7, abs=PRECISION)))


@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.integers(5, 400), min_size=2, max_size=12),
)
@settings(max_examples=40, deadline=None)
def test_pooled_by_sums_is_pooled_by_sites(seed: int, counts: list[int]) -> None:
    told = [site(seed + place, count) for place, count in enumerate(counts)]
    # What one site alone tells is not read: the first two have all bins.
    full = tuple(
        ReliabilityBin(num_images=2, share=0.1, probability=(place + 0.5) / NUM_BINS, frequency=0.5)
        for place in range(NUM_BINS)
    )
    for place in (0, 1):
        known = told[place].calibration
        assert known is not None
        told[place] = told[place].model_copy(update={"calibration": known.model_copy(update={"bins": full})})

    found = told_together(told).evaluation

    assert close(numbers_in(found), numbers_in(pool(told)))


@pytest.mark.parametrize("num_sites", [2, 3, 50])
def test_precision_a_mean_is_off_by_less_than_4e_10_and_a_variance_by_as_much_times_its_mean(
    num_sites: int,
) -> None:
    told = [site(place, 5) for place in range(num_sites)]

    found, expected = told_together(told).evaluation, pool(told)

    assert found is not None
    assert expected is not None
    for pooled, of_sites in ((found.loss, expected.loss), (found.calibration, expected.calibration)):
        assert pooled is not None
        assert of_sites is not None
        assert abs(pooled.mean - of_sites.mean) < 4e-10
        assert abs(pooled.variance - of_sites.variance) < 4e-10 * (1 + 2 * abs(of_sites.mean))
    assert FRACTION_BITS == 28  # what the figures above follow from: 2^-29 / 5 images


def test_training_losses_are_weighed_by_examples_and_looks_by_images() -> None:
    appearances = [looks(1, 80), None, looks(2, LEAST_IN_ALL)]

    found = told_together(
        [site(place, 5) for place in range(3)],
        losses=[(10, 0.5), (30, 0.1), None],
        appearances=appearances,
    )

    assert found.train_loss == pytest.approx((10 * 0.5 + 30 * 0.1) / 40, abs=1e-9)
    expected = appearance.pool([each for each in appearances if each is not None])
    assert expected is not None
    assert found.appearance is not None
    assert found.appearance.num_examples == expected.num_examples
    np.testing.assert_allclose(found.appearance.mean, expected.mean, atol=1e-8)
    np.testing.assert_allclose(found.appearance.covariance, expected.covariance, atol=1e-7)
    assert found.num_with_bands == 3


def test_what_one_site_alone_tells_is_not_read() -> None:
    """The sum of it is that site's own: nothing of it comes into any table."""
    alone, other = site(1, 30), site(2, 30).model_copy(update={"percent_density": None, "hausdorff": None})
    third = other.model_copy(update={"density_categories": None})

    found = told_together([alone, other, third], losses=[(10, 0.5), None, None])

    assert found.train_loss is None
    assert found.evaluation is not None
    assert found.evaluation.percent_density is None
    assert found.evaluation.hausdorff is None
    assert found.evaluation.density_categories is not None
    assert found.evaluation.loss is not None


def test_a_site_that_tells_nothing_adds_nothing() -> None:
    told = [site(1, 30), site(2, 40)]
    nothing = Evaluation(num_examples=1)

    found, expected = told_together([*told, nothing]).evaluation, pool(told)

    assert found is not None
    assert expected is not None
    assert found.num_examples == 70
    assert close(numbers_in(found.dice), numbers_in(expected.dice))
    assert set(rows_of(METRIC_NAMES, train_loss=None, evaluation=None, appearance=None)[0]) == {0.0}


def test_a_statistic_too_large_for_a_sum_is_left_out_whole() -> None:
    huge = site(1, 30).model_copy(update={"loss": Moments(num_images=30, mean=1e9, variance=1e300)})

    found = told_together([huge, site(2, 30), site(3, 30)]).evaluation

    assert found is not None
    assert found.loss is not None
    assert found.loss.num_images == 60
    assert found.loss.mean < 10
    assert found.dice is not None
    assert found.dice.dense is not None
    assert found.dice.dense.num_images == 90


def test_every_site_has_as_many_words_whatever_it_tells() -> None:
    for asked in (METRIC_NAMES, ("train_loss", "loss", "dice"), ("appearance",), ()):
        empty = rows_of(asked, train_loss=None, evaluation=None, appearance=None)
        full = rows_of(asked, train_loss=(9, 0.1), evaluation=site(1, 30), appearance=looks(1, 40))
        assert [len(row) for row in empty] == [len(row) for row in full]
        assert sum(map(len, full)) == num_numbers(asked)


@pytest.mark.parametrize("place", [0, 1])
def test_sums_that_no_sites_can_have_told_are_refused(place: int) -> None:
    random = np.random.default_rng(place)
    noise = random.integers(0, 2**64, num_numbers(METRIC_NAMES), np.uint64)

    with pytest.raises(ValueError, match="no number of sites"):
        together(METRIC_NAMES, to_numbers(noise), num_sites=3)


def test_pairs_are_the_records_that_pooling_knows() -> None:
    """So that a new number of theirs is not forgotten in the sums."""
    assert set(pairs(np.ones(2), np.ones(2))) == set(PairedMoments.model_fields)
