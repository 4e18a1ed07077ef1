"""The statistics of several sites as those of all their images: exact, for they are sufficient.

Means and squared deviations are added as by Chan, Golub and LeVeque, "Algorithms for computing the sample
variance", The American Statistician 37 (1983), which loses no digits where sums of squares would.

Intervals are made anew: that of a mean is normal, with the sites as strata, and of a value that has bounds it
is normal on a scale that has none (`shared.evaluation.bounds`); that of Pearson's r is by Fisher's z (Metron
1, 1921), which takes the pairs for normal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from shared.evaluation.agreement import absolute_differences, correlation, differences
from shared.evaluation.bounds import (
    CATEGORY_DIFFERENCE,
    DISTANCE,
    NONE,
    PERCENT,
    PERCENT_DIFFERENCE,
    SHARE,
    Z_95,
    Bounds,
    interval_of_mean,
)
from shared.evaluation.records import (
    NUM_BINS,
    Calibration,
    DensityCategories,
    Evaluation,
    ExpectedBand,
    Hausdorff,
    Interval,
    Moments,
    PairedMoments,
    PercentDensity,
    Proportion,
    ReliabilityBin,
    SegmentMoments,
    SurfaceDistances,
)

Part = TypeVar("Part")
Counted = TypeVar("Counted", bound=Moments | PairedMoments)


def pool(evaluations: Sequence[Evaluation]) -> Evaluation | None:
    """One evaluation over the images of all; None of none."""
    if not evaluations:
        return None
    return Evaluation(
        num_examples=sum(each.num_examples for each in evaluations),
        loss=pool_moments(each.loss for each in evaluations),
        dice=_segments((each.dice for each in evaluations), SHARE),
        hausdorff=_hausdorff(_known(each.hausdorff for each in evaluations)),
        percent_density=_percent_density(_known(each.percent_density for each in evaluations)),
        density_categories=_categories(_known(each.density_categories for each in evaluations)),
        calibration=_calibration(_known(each.calibration for each in evaluations)),
    )


def pool_moments(parts: Iterable[Moments | None], bounds: Bounds = NONE) -> Moments | None:
    """Moments over the images of all parts, with an interval of the mean within bounds; None of none."""
    known = _known(parts)
    if not known:
        return None
    mean = _mean(known, lambda each: each.mean)
    return Moments(
        num_images=sum(each.num_images for each in known),
        mean=mean,
        variance=_mean(known, lambda each: each.variance + (each.mean - mean) ** 2),
        interval=_stratified(known, mean, bounds),
    )


def pool_pairs(parts: Sequence[PairedMoments]) -> PairedMoments:
    """Paired moments over the images of all parts, of which there is at least one."""
    measured = _mean(parts, lambda each: each.mean_measured)
    expert = _mean(parts, lambda each: each.mean_expert)

    def codeviation(each: PairedMoments) -> float:
        return each.covariance + (each.mean_measured - measured) * (each.mean_expert - expert)

    return PairedMoments(
        num_images=sum(each.num_images for each in parts),
        mean_measured=measured,
        mean_expert=expert,
        variance_measured=_mean(
            parts, lambda each: each.variance_measured + (each.mean_measured - measured) ** 2
        ),
        variance_expert=_mean(parts, lambda each: each.variance_expert + (each.mean_expert - expert) ** 2),
        covariance=_mean(parts, codeviation),
        mean_absolute_difference=_mean(parts, lambda each: each.mean_absolute_difference),
    )


def _known(parts: Iterable[Part | None]) -> list[Part]:
    return [each for each in parts if each is not None]


def _mean(parts: Sequence[Counted], value_of: Callable[[Counted], float]) -> float:
    """A mean over the images of all parts."""
    total = math.fsum(each.num_images * value_of(each) for each in parts)
    return total / sum(each.num_images for each in parts)


def _stratified(parts: Sequence[Moments], mean: float, bounds: Bounds) -> Interval | None:
    """95 % interval of a mean of which each part is a random sample of its site's images."""
    if any(each.num_images < 2 for each in parts):
        return None
    count = sum(each.num_images for each in parts)
    # The variance of a site's mean is its v / (n - 1); of the whole, it has the weight (n / count)^2.
    spread = math.fsum(each.num_images**2 * each.variance / (each.num_images - 1) for each in parts)
    return interval_of_mean(mean, math.sqrt(spread) / count, bounds)


def fisher_interval(pairs: PairedMoments) -> Interval | None:
    """95 % interval of Pearson's r, where there is one."""
    r = correlation(pairs)
    if r is None or abs(r) >= 1 or pairs.num_images <= 3:
        return None
    half = Z_95 / math.sqrt(pairs.num_images - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def _segments(parts: Iterable[SegmentMoments | None], bounds: Bounds) -> SegmentMoments | None:
    known = _known(parts)
    if not known:
        return None
    return SegmentMoments(
        dense=pool_moments((each.dense for each in known), bounds),
        breast=pool_moments((each.breast for each in known), bounds),
        pectoral=pool_moments((each.pectoral for each in known), bounds),
    )


def _hausdorff(parts: Sequence[Hausdorff]) -> Hausdorff | None:
    if not parts:
        return None
    return Hausdorff(
        mm=_distances(_known(each.mm for each in parts)), px=_distances(_known(each.px for each in parts))
    )


def _distances(parts: Sequence[SurfaceDistances]) -> SurfaceDistances | None:
    if not parts:
        return None
    return SurfaceDistances(
        percentile_95=_segments((each.percentile_95 for each in parts), DISTANCE),
        maximum=_segments((each.maximum for each in parts), DISTANCE),
    )


def _percent_density(parts: Sequence[PercentDensity]) -> PercentDensity | None:
    if not parts:
        return None
    pairs = pool_pairs(parts)
    error = pool_moments(map(absolute_differences, parts), PERCENT)
    bias = pool_moments(map(differences, parts), PERCENT_DIFFERENCE)
    return PercentDensity(
        **dict(pairs),
        correlation_interval=fisher_interval(pairs),
        error_interval=error.interval if error else None,
        bias_interval=bias.interval if bias else None,
    )


def _categories(parts: Sequence[DensityCategories]) -> DensityCategories | None:
    if not parts:
        return None
    expected = _known(each.expected for each in parts)
    return DensityCategories(
        **dict(pool_pairs(parts)),
        num_in_rarest=min(each.num_in_rarest for each in parts),
        agreement=_proportion(_known(each.agreement for each in parts)),
        second_read=_proportion(_known(each.second_read for each in parts)),
        ranked_probability=pool_moments((each.ranked_probability for each in parts), SHARE),
        expected=_expected(expected),
    )


def _expected(parts: Sequence[ExpectedBand]) -> ExpectedBand | None:
    if not parts:
        return None
    bias = pool_moments(map(differences, parts), CATEGORY_DIFFERENCE)
    return ExpectedBand(**dict(pool_pairs(parts)), bias_interval=bias.interval if bias else None)


def _proportion(parts: Sequence[Proportion]) -> Proportion | None:
    """A share is the mean of zeros and ones."""
    zeros_and_ones = [
        Moments(num_images=each.num_images, mean=each.share, variance=each.share * (1 - each.share))
        for each in parts
    ]
    pooled = pool_moments(zeros_and_ones, SHARE)
    if pooled is None:
        return None
    return Proportion(
        num_images=pooled.num_images,
        num_in_rarest=min(each.num_in_rarest for each in parts),
        share=min(1.0, pooled.mean),
        interval=pooled.interval,
    )


def _calibration(parts: Sequence[Calibration]) -> Calibration | None:
    brier = pool_moments(parts, SHARE)
    if brier is None:
        return None
    return Calibration(**dict(brier), bins=tuple(_bin(parts, place) for place in range(NUM_BINS)))


def _bin(parts: Sequence[Calibration], place: int) -> ReliabilityBin | None:
    """One bin over the sites that tell it; the others count as having no pixel in it."""
    told = [(each.num_images, found) for each in parts if (found := each.bins[place]) is not None]
    pixels = math.fsum(count * found.share for count, found in told)
    if pixels <= 0:
        return None
    probability = math.fsum(count * found.share * found.probability for count, found in told) / pixels
    frequency = math.fsum(count * found.share * found.frequency for count, found in told) / pixels
    return ReliabilityBin(
        num_images=sum(found.num_images for _, found in told),
        share=pixels / sum(each.num_images for each in parts),
        probability=min(1.0, probability),
        frequency=min(1.0, frequency),
    )
