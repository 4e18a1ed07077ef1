"""What persons and machines are shown of an evaluation: one figure for each measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from shared.evaluation.agreement import (
    calibration_error,
    calibration_slope,
    correlation,
    differences,
    limits_of_agreement,
    quadratic_kappa,
)
from shared.evaluation.records import (
    Calibration,
    DensityCategories,
    Evaluation,
    ExpectedBand,
    Interval,
    Moments,
    PercentDensity,
    Proportion,
    SegmentMoments,
)

SEGMENTS = ("dense", "breast", "pectoral")


class Better(Enum):
    """Which of two values of a measure is the better one."""

    HIGHER = "higher"
    LOWER = "lower"
    NEARER_ZERO = "nearer zero"
    NEARER_ONE = "nearer one"

    def badness(self, value: float) -> float:
        """A number that is the larger, the worse the value is."""
        return {
            Better.HIGHER: -value,
            Better.LOWER: value,
            Better.NEARER_ZERO: abs(value),
            Better.NEARER_ONE: abs(value - 1),
        }[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How a measure is shown and compared.

    Attributes
    ----------
    words
        What it is called where it stands alone.
    heading
        What it is called among its like.
    decimals
        That are worth showing.
    """

    words: str
    heading: str
    decimals: int
    better: Better


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The value of one measure over so many images, with its 95 % interval where there is one."""

    value: float
    num_images: int
    interval: Interval | None = None


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "loss": Measure(words="loss", heading="loss", decimals=3, better=Better.LOWER),
        **{
            f"dice_{segment}": Measure(
                words=f"{segment} Dice", heading=segment, decimals=3, better=Better.HIGHER
            )
            for segment in SEGMENTS
        },
        "percent_density_r": Measure(words="density r", heading="r", decimals=3, better=Better.HIGHER),
        **{
            f"percent_density_{name}": Measure(
                words=f"density {words} (pp)", heading=f"{heading} (pp)", decimals=1, better=better
            )
            for name, words, heading, better in (
                ("error", "error", "error", Better.LOWER),
                ("bias", "bias", "bias", Better.NEARER_ZERO),
                ("lower_limit", "lower limit of agreement", "lower", Better.NEARER_ZERO),
                ("upper_limit", "upper limit of agreement", "upper", Better.NEARER_ZERO),
            )
        },
        **{
            f"hausdorff{suffix}_{segment}_{unit}": Measure(
                words=f"{segment} {words} ({unit})",
                heading=f"{segment} ({unit})",
                decimals=1,
                better=Better.LOWER,
            )
            for unit in ("mm", "px")
            for suffix, words in (("_95", "Hausdorff distance, 95th percentile"), ("", "Hausdorff distance"))
            for segment in SEGMENTS
        },
        **{
            name: Measure(
                words=f"density bands (uncalibrated): {heading}",
                heading=heading,
                decimals=decimals,
                better=better,
            )
            for name, heading, decimals, better in (
                ("category_kappa", "quadratic kappa", 2, Better.HIGHER),
                ("band_agreement", "agreement", 2, Better.HIGHER),
                ("band_second_read", "second read", 2, Better.LOWER),
                ("band_ranked_probability", "ranked probability score", 3, Better.LOWER),
                ("band_bias", "bias", 2, Better.NEARER_ZERO),
                ("band_slope", "calibration slope", 2, Better.NEARER_ONE),
            )
        },
        "brier": Measure(words="Brier score", heading="Brier score", decimals=3, better=Better.LOWER),
        "calibration_error": Measure(
            words="calibration error", heading="calibration error", decimals=3, better=Better.LOWER
        ),
    }
)
"""Every measure, by name."""

PER_ROUND = ("loss", "dice_dense", "percent_density_r", "percent_density_error")
"""Measures that are shown of every round."""

UNTOLD = "-"
IN_AGGREGATE = "in aggregate only"
"""Of what sites told as sums of all, so that nobody knows it of one of them."""


def figure_text(name: str, figure: Figure | None) -> str:
    """A measure's figure with its interval, with as many decimals as are worth showing."""
    if figure is None:
        return UNTOLD
    decimals = MEASURES[name].decimals
    if figure.interval is None:
        return f"{figure.value:.{decimals}f}"
    low, high = figure.interval
    return f"{figure.value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def figures(evaluation: Evaluation) -> dict[str, Figure]:
    """Every measure that follows from what is told, by name, in the order of `MEASURES`."""
    found = dict(_figures(evaluation))
    return {name: figure for name in MEASURES if (figure := found.get(name)) is not None}


def _figures(evaluation: Evaluation) -> Iterator[tuple[str, Figure | None]]:
    yield "loss", _mean(evaluation.loss)
    yield from _of_segments("dice_{}", evaluation.dice)
    if evaluation.percent_density is not None:
        yield from _of_density(evaluation.percent_density)
    if evaluation.density_categories is not None:
        yield from _of_categories(evaluation.density_categories)
    if evaluation.hausdorff is not None:
        for unit, distances in (("mm", evaluation.hausdorff.mm), ("px", evaluation.hausdorff.px)):
            if distances is not None:
                yield from _of_segments(f"hausdorff_95_{{}}_{unit}", distances.percentile_95)
                yield from _of_segments(f"hausdorff_{{}}_{unit}", distances.maximum)
    if evaluation.calibration is not None:
        yield from _of_calibration(evaluation.calibration)


def _mean(moments: Moments | None) -> Figure | None:
    if moments is None:
        return None
    return Figure(value=moments.mean, num_images=moments.num_images, interval=moments.interval)


def _of_segments(name: str, segments: SegmentMoments | None) -> Iterator[tuple[str, Figure | None]]:
    if segments is not None:
        for segment in SEGMENTS:
            yield name.format(segment), _mean(getattr(segments, segment))


def _of_density(density: PercentDensity) -> Iterator[tuple[str, Figure]]:
    r, limits = correlation(density), limits_of_agreement(density)
    values = {
        "r": (r, density.correlation_interval),
        "error": (density.mean_absolute_difference, density.error_interval),
        "bias": (differences(density).mean, density.bias_interval),
        "lower_limit": (limits and limits[0], None),
        "upper_limit": (limits and limits[1], None),
    }
    for name, (value, interval) in values.items():
        if value is not None:
            yield (
                f"percent_density_{name}",
                Figure(value=value, num_images=density.num_images, interval=interval),
            )


def _of_categories(categories: DensityCategories) -> Iterator[tuple[str, Figure | None]]:
    kappa = quadratic_kappa(categories)
    if kappa is not None:
        interval = categories.kappa_interval
        yield "category_kappa", Figure(value=kappa, num_images=categories.num_images, interval=interval)
    yield "band_agreement", _share(categories.agreement)
    yield "band_second_read", _share(categories.second_read)
    yield "band_ranked_probability", _mean(categories.ranked_probability)
    if categories.expected is not None:
        yield from _of_expected(categories.expected)


def _of_expected(expected: ExpectedBand) -> Iterator[tuple[str, Figure]]:
    bias, slope = differences(expected).mean, calibration_slope(expected)
    yield "band_bias", Figure(value=bias, num_images=expected.num_images, interval=expected.bias_interval)
    if slope is not None:
        yield (
            "band_slope",
            Figure(value=slope, num_images=expected.num_images, interval=expected.slope_interval),
        )


def _share(proportion: Proportion | None) -> Figure | None:
    if proportion is None:
        return None
    return Figure(value=proportion.share, num_images=proportion.num_images, interval=proportion.interval)


def _of_calibration(calibration: Calibration) -> Iterator[tuple[str, Figure | None]]:
    yield "brier", _mean(calibration)
    error = calibration_error(calibration)
    if error is not None:
        yield "calibration_error", Figure(value=error, num_images=calibration.num_images)
