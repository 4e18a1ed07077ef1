"""Whether what a site tells of an evaluation can be true of any images at all.

A site that lies within these bounds is not found out here; what it can do is shift a figure in a table.

1. It tells only what was asked for.
2. No statistic is over more images than were evaluated, nor these over more than a site can have.
3. A mean lies where values can lie, and a variance is no larger than that mean allows (Bhatia and Davis, The
   American Mathematical Monthly 107, 2000); an interval has its ends in order, and within that range.
4. A covariance is no larger than the variances allow (Cauchy and Schwarz); a mean absolute difference lies
   between the difference of the means and the root mean square of the differences (Jensen).
5. The bins of a reliability diagram hold all pixels at most, each with probabilities of its own range.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from shared.errors import AdmissionError
from shared.evaluation.agreement import differences
from shared.evaluation.bounds import (
    CATEGORY,
    CATEGORY_DIFFERENCE,
    DISTANCE,
    PERCENT,
    PERCENT_DIFFERENCE,
    SHARE,
    Bounds,
)
from shared.evaluation.records import (
    EVALUATED,
    NUM_BINS,
    Calibration,
    DensityCategories,
    Evaluation,
    Interval,
    Moments,
    PairedMoments,
    PercentDensity,
)
from shared.plan import MetricName
from shared.tables import Table

MAX_IMAGES = 10_000_000
TOLERANCE = 1e-6
"""What rounding can do, relative to the largest value."""
SLACK = 1e-3
"""The root of what rounding can do to a variance."""

LOSS: Bounds = (-1e6, 1e6)
SLOPE: Bounds = (-1e6, 1e6)


def check_evaluation(evaluation: Evaluation, asked: Collection[MetricName]) -> None:
    """Return only if an evaluation can be true.

    Raises
    ------
    AdmissionError
        It cannot; the message says why.
    """
    # 1.
    if any(getattr(evaluation, name) is not None and name not in asked for name in EVALUATED):
        raise _incredible("tells a metric that was not asked for")
    # 2.
    most = min(evaluation.num_examples, MAX_IMAGES)
    if evaluation.num_examples > most or any(count > most for count in _counts(evaluation)):
        raise _incredible("counts more images than there can be")
    # 3.
    for moments, values in _moments(evaluation):
        _check_moments(moments.mean, moments.variance, values)
        _check_interval(moments.interval, values)
    # 4.
    if evaluation.percent_density is not None:
        _check_density(evaluation.percent_density)
    if evaluation.density_categories is not None:
        _check_categories(evaluation.density_categories)
    # 5.
    if evaluation.calibration is not None:
        _check_bins(evaluation.calibration)


def _counts(table: Table) -> Iterator[int]:
    """Every number of images below a table."""
    for name, value in table:
        if name in {"num_images", "num_in_rarest"}:
            yield value
        for below in value if isinstance(value, tuple) else (value,):
            if isinstance(below, Table):
                yield from _counts(below)


def _moments(evaluation: Evaluation) -> Iterator[tuple[Moments, Bounds]]:
    """All moments of one value, with the range of that value."""
    segments = [(evaluation.dice, SHARE)]
    if evaluation.hausdorff is not None:
        for distances in (evaluation.hausdorff.mm, evaluation.hausdorff.px):
            if distances is not None:
                segments += [(distances.percentile_95, DISTANCE), (distances.maximum, DISTANCE)]
    found = [(evaluation.loss, LOSS), (evaluation.calibration, SHARE)]
    if evaluation.density_categories is not None:
        found.append((evaluation.density_categories.ranked_probability, SHARE))
    for each, values in segments:
        if each is not None:
            found += [(each.dense, values), (each.breast, values), (each.pectoral, values)]
    yield from ((moments, values) for moments, values in found if moments is not None)


def _check_moments(mean: float, variance: float, values: Bounds) -> None:
    low, high = values
    slack = TOLERANCE * (high - low)
    if not low - slack <= mean <= high + slack:
        raise _incredible("has a mean that no image could have")
    if variance > (high - mean + slack) * (mean - low + slack):
        raise _incredible("has a variance that its mean does not allow")


def _check_interval(interval: Interval | None, values: Bounds) -> None:
    if interval is not None and not (values[0] <= interval[0] <= interval[1] <= values[1]):
        raise _incredible("has an interval that cannot be")


def _check_pairs(pairs: PairedMoments, values: Bounds) -> None:
    _check_moments(pairs.mean_measured, pairs.variance_measured, values)
    _check_moments(pairs.mean_expert, pairs.variance_expert, values)
    largest = math.sqrt(pairs.variance_measured * pairs.variance_expert)
    if abs(pairs.covariance) > largest * (1 + TOLERANCE) + TOLERANCE:
        raise _incredible("has a covariance that its variances do not allow")
    signed, error = differences(pairs), pairs.mean_absolute_difference
    root_mean_square = math.hypot(signed.mean, math.sqrt(signed.variance))
    if not abs(signed.mean) - TOLERANCE <= error <= root_mean_square + SLACK:
        raise _incredible("has a mean absolute difference that its other moments do not allow")


def _check_density(density: PercentDensity) -> None:
    _check_pairs(density, PERCENT)
    _check_interval(density.correlation_interval, (-1, 1))
    _check_interval(density.error_interval, PERCENT)
    _check_interval(density.bias_interval, PERCENT_DIFFERENCE)


def _check_categories(categories: DensityCategories) -> None:
    _check_pairs(categories, CATEGORY)
    _check_interval(categories.kappa_interval, (-1, 1))
    for proportion in (categories.agreement, categories.second_read):
        if proportion is not None:
            _check_interval(proportion.interval, SHARE)
    if categories.expected is not None:
        _check_pairs(categories.expected, CATEGORY)
        _check_interval(categories.expected.bias_interval, CATEGORY_DIFFERENCE)
        _check_interval(categories.expected.slope_interval, SLOPE)


def _check_bins(calibration: Calibration) -> None:
    told = [(place, found) for place, found in enumerate(calibration.bins) if found is not None]
    if math.fsum(found.share for _, found in told) > 1 + TOLERANCE:
        raise _incredible("has more pixels in its bins than there are")
    if any(
        not place / NUM_BINS - TOLERANCE <= found.probability <= (place + 1) / NUM_BINS + TOLERANCE
        for place, found in told
    ):
        raise _incredible("has a bin with probabilities of another one")


def _incredible(what: str) -> AdmissionError:
    return AdmissionError(
        f"A contribution was rejected. Its evaluation {what}.", "Ask the site for its log of this round."
    )
