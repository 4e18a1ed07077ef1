"""Statistics as numbers that add up, and what all sites tell together, from the sums of these numbers alone.

Each statistic has a row (`shared.evaluation.rows`). Whatever `shared.evaluation.pooling` makes of the
statistics of several sites follows from the sums of their rows, intervals included: the spread of a mean over
sites that are strata is a sum over sites as well. What no row has are the intervals that sites draw for
themselves, and in how many images the rarest category is.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from shared.appearance import LEAST_IN_ALL, QUANTITIES, Appearance, from_scatter
from shared.evaluation.agreement import absolute_differences, differences
from shared.evaluation.bounds import (
    CATEGORY_DIFFERENCE,
    DISTANCE,
    NONE,
    PERCENT,
    PERCENT_DIFFERENCE,
    SHARE,
    Bounds,
    interval_of_mean,
)
from shared.evaluation.pooling import fisher_interval
from shared.evaluation.records import (
    EVALUATED,
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
from shared.evaluation.rows import LEAST_IMAGES, Row, Several, Statistic, Sums
from shared.evaluation.together import Together
from shared.plan import MetricName

DISTANCE_UNIT = 64.0
"""Distances are added up in so many mm or pixels, for their squares are large."""


def rows_of(
    asked: Collection[MetricName],
    *,
    train_loss: tuple[int, float] | None,
    evaluation: Evaluation | None,
    appearance: Appearance | None,
) -> list[Row]:
    """The rows of one site, as many and as long at each.

    Parameters
    ----------
    asked
        The metrics of the phase, as the plan names them.
    train_loss
        The number of training examples, and their mean loss.
    """
    told = {**_split(evaluation), "train_loss": train_loss, "appearance": appearance}
    return [row for name, part in _asked(asked).items() for row in part.rows(told.get(name))]


def num_numbers(asked: Collection[MetricName]) -> int:
    """How many numbers the rows of a site have in all."""
    return sum(map(len, rows_of(asked, train_loss=None, evaluation=None, appearance=None)))


def together(asked: Collection[MetricName], sums: Row, *, num_sites: int) -> Together:
    """What sites tell together.

    Parameters
    ----------
    sums
        Of the numbers of all their rows, in order.
    num_sites
        That have added to them.

    Raises
    ------
    ValueError
        They are no sums of statistics: a site has told nonsense.
    """
    left = Sums(numbers=sums, num_sites=num_sites)
    found = {name: part.pooled(left) for name, part in _asked(asked).items()}
    measured = {name: found[name] for name in EVALUATED if found.get(name) is not None}
    num_examples = found.get("num_examples")
    num_with_bands = found.get("num_with_bands")
    return Together(
        train_loss=found.get("train_loss"),
        evaluation=Evaluation(num_examples=num_examples, **measured) if num_examples and measured else None,
        num_with_bands=num_with_bands or 0,
        appearance=found.get("appearance"),
    )


def _asked(asked: Collection[MetricName]) -> dict[str, Statistic | Several]:
    evaluated = [name for name in EVALUATED if name in asked]
    names = [
        *(["train_loss"] if "train_loss" in asked else []),
        *(["num_examples", *evaluated] if evaluated else []),
        *(["num_with_bands"] if "density_categories" in asked else []),
        *(["appearance"] if "appearance" in asked else []),
    ]
    return {name: _STATISTICS[name] for name in names}


def _split(evaluation: Evaluation | None) -> dict[str, Any]:
    if evaluation is None:
        return {}
    categories = evaluation.density_categories
    has_bands = categories is not None and categories.expected is not None
    return {**dict(evaluation), "num_with_bands": categories if has_bands else None}


def _moments(bounds: Bounds = NONE, unit: float = 1.0) -> Statistic:
    """Images, sum, sum of squares, and what they add to the spread of the mean."""

    def numbers(told: Moments) -> Row:
        return _numbers(told, unit)

    def read(sums: Row) -> Moments:
        count, mean, variance, error = _read(sums, unit)
        interval = interval_of_mean(mean, error, bounds)
        return Moments(num_images=count, mean=mean, variance=variance, interval=interval)

    return Statistic(size=4, numbers=numbers, read=read)


def _numbers(told: Moments, unit: float = 1.0) -> Row:
    count, mean, variance = told.num_images, told.mean / unit, told.variance / unit**2
    return (count, count * mean, count * (variance + mean * mean), _spread(told, unit))


def _spread(told: Moments, unit: float = 1.0) -> float:
    """What a site adds to the squared standard error of the mean over all images, times the count squared."""
    return _spread_of(told.num_images, told.variance / unit**2)


def _spread_of(count: int, variance: float) -> float:
    return count**2 * variance / (count - 1) if count >= LEAST_IMAGES else 0.0


def _read(sums: Row, unit: float) -> tuple[int, float, float, float]:
    """Images, mean, variance and the standard error of the mean."""
    count, total, squares, spread = sums
    mean = total / count
    variance = max(0.0, squares / count - mean**2)
    return round(count), mean * unit, variance * unit**2, _error(spread, count) * unit


def _error(spread: float, count: float) -> float:
    return math.sqrt(max(0.0, spread)) / count


def _segments(bounds: Bounds, unit: float = 1.0) -> Several:
    names = ("dense", "breast", "pectoral")
    return Several(parts={name: _moments(bounds, unit) for name in names}, join=SegmentMoments)


def _distances() -> Several:
    names = ("percentile_95", "maximum")
    return Several(parts={name: _segments(DISTANCE, DISTANCE_UNIT) for name in names}, join=SurfaceDistances)


def _pair_numbers(told: PairedMoments) -> Row:
    count, x, y = told.num_images, told.mean_measured, told.mean_expert
    return (
        count,
        count * x,
        count * y,
        count * (told.variance_measured + x * x),
        count * (told.variance_expert + y * y),
        count * (told.covariance + x * y),
        count * told.mean_absolute_difference,
    )


def _read_pairs(sums: Row) -> dict[str, Any]:
    """The attributes of `PairedMoments`."""
    count, x, y, xx, yy, xy, apart = sums
    x, y = x / count, y / count
    return {
        "num_images": round(count),
        "mean_measured": x,
        "mean_expert": y,
        "variance_measured": max(0.0, xx / count - x**2),
        "variance_expert": max(0.0, yy / count - y**2),
        "covariance": xy / count - x * y,
        "mean_absolute_difference": max(0.0, apart / count),
    }


def _interval_of_bias(pairs: PairedMoments, spread: float, bounds: Bounds) -> Interval:
    return interval_of_mean(differences(pairs).mean, _error(spread, pairs.num_images), bounds)


def _density_numbers(told: PercentDensity) -> Row:
    return (*_pair_numbers(told), _spread(absolute_differences(told)), _spread(differences(told)))


def _read_density(sums: Row) -> PercentDensity:
    *of_pairs, of_error, of_bias = sums
    pairs = PairedMoments(**_read_pairs(of_pairs))
    error = _error(of_error, pairs.num_images)
    return PercentDensity(
        **dict(pairs),
        correlation_interval=fisher_interval(pairs),
        error_interval=interval_of_mean(pairs.mean_absolute_difference, error, PERCENT),
        bias_interval=_interval_of_bias(pairs, of_bias, PERCENT_DIFFERENCE),
    )


def _expected_numbers(told: ExpectedBand) -> Row:
    return (*_pair_numbers(told), _spread(differences(told)))


def _read_expected(sums: Row) -> ExpectedBand:
    *of_pairs, of_bias = sums
    pairs = PairedMoments(**_read_pairs(of_pairs))
    return ExpectedBand(**dict(pairs), bias_interval=_interval_of_bias(pairs, of_bias, CATEGORY_DIFFERENCE))


AT_LEAST_ONE = 1
"""Images in the rarest category: a minimum is no sum, and of all sites together nobody asks for it."""


def _share_numbers(told: Proportion) -> Row:
    """A share is the mean of zeros and ones, of which the squares are the same."""
    count, share = told.num_images, told.share
    return (count, count * share, _spread_of(count, share * (1 - share)))


def _read_share(sums: Row) -> Proportion:
    count, true, spread = sums
    share = min(1.0, max(0.0, true / count))
    return Proportion(
        num_images=round(count),
        num_in_rarest=AT_LEAST_ONE,
        share=share,
        interval=interval_of_mean(share, _error(spread, count), SHARE),
    )


def _categories() -> Several:
    share = Statistic(size=3, numbers=_share_numbers, read=_read_share)
    parts = {
        "pairs": Statistic(size=7, numbers=_pair_numbers, read=_read_pairs),
        "agreement": share,
        "second_read": share,
        "ranked_probability": _moments(SHARE),
        "expected": Statistic(size=8, numbers=_expected_numbers, read=_read_expected),
    }

    def join(pairs: Mapping[str, Any] | None, **rest: Any) -> DensityCategories | None:
        return None if pairs is None else DensityCategories(**pairs, num_in_rarest=AT_LEAST_ONE, **rest)

    return Several(parts=parts, join=join, split=lambda told: {**dict(told), "pairs": told})


def _bin_numbers(told: tuple[int, ReliabilityBin]) -> Row:
    """Images that reach the bin; of all images the share of pixels, what the model says and what is dense."""
    count, found = told
    pixels = count * found.share
    return (found.num_images, pixels, pixels * found.probability, pixels * found.frequency)


def _calibration() -> Several:
    def split(told: Calibration) -> Mapping[str, Any]:
        bins = {
            f"bin_{place}": None if found is None else (told.num_images, found)
            for place, found in enumerate(told.bins)
        }
        return {"brier": told, **bins}

    def join(brier: Moments | None, **bins: Row | None) -> Calibration | None:
        if brier is None:
            return None
        made = (_joined_bin(bins[f"bin_{place}"], brier.num_images) for place in range(NUM_BINS))
        return Calibration(**dict(brier), bins=tuple(made))

    of_bin = Statistic(size=4, numbers=_bin_numbers, read=lambda sums: sums)
    bins = {f"bin_{place}": of_bin for place in range(NUM_BINS)}
    return Several(parts={"brier": _moments(SHARE), **bins}, join=join, split=split)


def _joined_bin(sums: Row | None, num_images: int) -> ReliabilityBin | None:
    if sums is None or sums[1] <= 0:
        return None
    count, pixels, probability, frequency = sums
    return ReliabilityBin(
        num_images=round(count),
        share=min(1.0, pixels / num_images),
        probability=min(1.0, max(0.0, probability / pixels)),
        frequency=min(1.0, max(0.0, frequency / pixels)),
    )


UPPER = np.triu_indices(len(QUANTITIES))


def _appearance_numbers(told: Appearance) -> Row:
    count, mean = told.num_examples, np.array(told.mean)
    squares = (count - 1) * told.covariance_matrix() + count * np.outer(mean, mean)
    return (count, *(count * mean), *squares[UPPER])


def _read_appearance(sums: Row) -> Appearance | None:
    count = round(sums[0])
    if count < LEAST_IN_ALL:
        return None
    mean = np.array(sums[1 : 1 + len(QUANTITIES)]) / count
    squares = np.zeros((len(QUANTITIES), len(QUANTITIES)))
    squares[UPPER] = sums[1 + len(QUANTITIES) :]
    squares += np.triu(squares, 1).T
    return from_scatter(count, mean, squares - count * np.outer(mean, mean))


_STATISTICS: Mapping[str, Statistic | Several] = {
    "train_loss": Statistic(
        size=2, numbers=lambda told: (told[0], told[0] * told[1]), read=lambda sums: sums[1] / sums[0]
    ),
    "num_examples": Statistic(size=1, numbers=lambda count: (count,), read=lambda sums: round(sums[0])),
    "loss": _moments(),
    "dice": _segments(SHARE),
    "hausdorff": Several(parts={"mm": _distances(), "px": _distances()}, join=Hausdorff),
    "percent_density": Statistic(size=9, numbers=_density_numbers, read=_read_density),
    "density_categories": _categories(),
    "num_with_bands": Statistic(
        size=2, numbers=lambda told: (told.num_images, 1), read=lambda sums: round(sums[1])
    ),
    "calibration": _calibration(),
    "appearance": Statistic(
        size=1 + len(QUANTITIES) + len(UPPER[0]), numbers=_appearance_numbers, read=_read_appearance
    ),
}
