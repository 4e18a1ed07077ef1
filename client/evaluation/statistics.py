"""From measures of single images to statistics over all of them; what of these may leave is decided later."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from client.evaluation.bootstrap import Resampling
from client.evaluation.images import ImageMetrics, Outlines
from client.evaluation.reliability import Reliability
from client.evaluation.surfaces import SurfaceDistance
from client.imaging.density import density_band
from shared.bands import BANDS, Band
from shared.evaluation.records import (
    NUM_BINS,
    Calibration,
    DensityCategories,
    Evaluation,
    ExpectedBand,
    Hausdorff,
    Interval,
    Moments,
    PercentDensity,
    Proportion,
    ReliabilityBin,
    SegmentMoments,
    SurfaceDistances,
)
from shared.model.density_band import DensityBand
from shared.plan import MetricName

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Over the images of one evaluation.

    Attributes
    ----------
    categories
        A reader's density category of each image, a to d; None where it is not known.
    resampling
        Of these very images; None makes no intervals.
    """

    images: Sequence[ImageMetrics]
    categories: Sequence[Band | None] = ()
    resampling: Resampling | None = None

    def evaluation(self, asked: Collection[MetricName]) -> Evaluation:
        """What was asked for, over the images that have it, however few they are."""
        parts: dict[MetricName, Callable[[], Any]] = {
            "loss": lambda: self._moments([image.loss for image in self.images]),
            "dice": self._dice,
            "hausdorff": self._hausdorff,
            "percent_density": self._percent_density,
            "density_categories": self._density_categories,
            "calibration": self._calibration,
        }
        told = {name: part() for name, part in parts.items() if name in asked}
        return Evaluation(num_examples=len(self.images), **told)

    def _dice(self) -> SegmentMoments:
        return SegmentMoments(
            dense=self._moments([image.dice_dense for image in self.images]),
            breast=self._moments([image.dice_breast for image in self.images]),
            pectoral=self._moments([image.dice_pectoral for image in self.images]),
        )

    def _hausdorff(self) -> Hausdorff:
        return Hausdorff(mm=self._distances(in_mm=True), px=self._distances(in_mm=False))

    def _distances(self, *, in_mm: bool) -> SurfaceDistances | None:
        outlines = [
            image.outlines if image.outlines and image.outlines.in_mm is in_mm else None
            for image in self.images
        ]
        if not any(outlines):
            return None

        def of(value_of: Callable[[SurfaceDistance], float]) -> SegmentMoments:
            def moments(segment_of: Callable[[Outlines], SurfaceDistance | None]) -> Moments | None:
                found = [each and segment_of(each) for each in outlines]
                return self._moments([value_of(each) if each else None for each in found])

            return SegmentMoments(
                dense=moments(lambda each: each.dense),
                breast=moments(lambda each: each.breast),
                pectoral=moments(lambda each: each.pectoral),
            )

        return SurfaceDistances(
            percentile_95=of(lambda apart: apart.percentile_95), maximum=of(lambda apart: apart.maximum)
        )

    def _percent_density(self) -> PercentDensity | None:
        pairs = [(image.percent_density, image.expert_percent_density) for image in self.images]
        known = np.array([expert is not None for _, expert in pairs])
        if not known.any():
            return None
        measured, expert = np.array([pair for pair in pairs if pair[1] is not None], dtype=np.float64).T
        return PercentDensity(
            **_paired(measured, expert),
            correlation_interval=self._interval(known, _products(measured, expert), _correlations),
            error_interval=self._interval(known, [np.abs(measured - expert)], _means),
            bias_interval=self._interval(known, [measured - expert], _means),
        )

    def _density_categories(self) -> DensityCategories | None:
        known = np.array([category is not None for category in self.categories])
        if not known.any():
            return None
        images = list(compress(self.images, known))
        categories = [category for category in self.categories if category is not None]
        likely = [image.band for image in images if image.band is not None]
        has_head = len(likely) == len(images)
        bands = (
            [each.band for each in likely]
            if has_head
            else [density_band(image.percent_density) for image in images]
        )
        measured, reader = (
            np.array([BANDS.index(band) for band in several], dtype=np.float64)
            for several in (bands, categories)
        )
        return DensityCategories(
            **_paired(measured, reader),
            num_in_rarest=min(_rarest(measured), _rarest(reader)),
            kappa_interval=self._interval(known, _products(measured, reader), _kappas),
            agreement=self._proportion(known, measured == reader),
            **(self._of_head(known, likely, categories) if has_head else {}),
        )

    def _of_head(
        self, known: npt.NDArray[np.bool_], bands: Sequence[DensityBand], categories: Sequence[Band]
    ) -> dict[str, Any]:
        """The attributes of `DensityCategories` that need probabilities."""
        scores = np.array(
            [band.ranked_probability_score(read) for band, read in zip(bands, categories, strict=True)]
        )
        expected = np.array([band.expected_place for band in bands])
        reader = np.array([BANDS.index(read) for read in categories], dtype=np.float64)
        return {
            "second_read": self._proportion(known, np.array([band.is_borderline for band in bands])),
            "ranked_probability": _moments(scores, self._interval(known, [scores], _means)),
            "expected": ExpectedBand(
                **_paired(expected, reader),
                bias_interval=self._interval(known, [expected - reader], _means),
                slope_interval=self._interval(known, _products(expected, reader), _slopes),
            ),
        }

    def _proportion(self, known: npt.NDArray[np.bool_], is_true: npt.NDArray[np.bool_]) -> Proportion:
        return Proportion(
            num_images=len(is_true),
            num_in_rarest=_rarest(is_true),
            share=float(is_true.mean()),
            interval=self._interval(known, [is_true.astype(np.float64)], _means),
        )

    def _calibration(self) -> Calibration | None:
        told = [image.reliability for image in self.images]
        brier = self._moments([each.brier if each else None for each in told])
        if brier is None:
            return None
        known = [each for each in told if each is not None]
        return Calibration(**dict(brier), bins=tuple(_bin(known, place) for place in range(NUM_BINS)))

    def _moments(self, values: Sequence[float | None]) -> Moments | None:
        """Moments of the values of those images that have one; None if none has."""
        has_value = np.array([value is not None for value in values])
        known = np.array([value for value in values if value is not None])
        if not len(known):
            return None
        return _moments(known, self._interval(has_value, [known], _means))

    def _interval(
        self,
        has_value: npt.NDArray[np.bool_],
        columns: Sequence[Values],
        statistic: Callable[[Values], Values],
    ) -> Interval | None:
        if self.resampling is None:
            return None
        return self.resampling.interval(has_value, np.stack(columns, axis=1), statistic)


def _moments(values: Values, interval: Interval | None) -> Moments:
    return Moments(
        num_images=len(values), mean=float(values.mean()), variance=float(values.var()), interval=interval
    )


def _rarest(values: npt.NDArray[Any]) -> int:
    """How often the value occurs that occurs the least."""
    return int(np.unique_counts(values).counts.min())


def _paired(measured: Values, expert: Values) -> dict[str, Any]:
    """The attributes of `PairedMoments`."""
    x, y = measured - measured.mean(), expert - expert.mean()
    return {
        "num_images": len(measured),
        "mean_measured": float(measured.mean()),
        "mean_expert": float(expert.mean()),
        "variance_measured": float(np.mean(x * x)),
        "variance_expert": float(np.mean(y * y)),
        "covariance": float(np.mean(x * y)),
        "mean_absolute_difference": float(np.abs(measured - expert).mean()),
    }


def _products(measured: Values, expert: Values) -> list[Values]:
    """Values of x, y, x^2, y^2 and xy, about one point in their midst, so that few digits are lost."""
    centre = expert.mean()
    x, y = measured - centre, expert - centre
    return [x, y, x * x, y * y, x * y]


def _means(means: Values) -> Values:
    return means[:, 0]


def _correlations(means: Values) -> Values:
    """Pearson's r from the means of `_products`."""
    x, y, xx, yy, xy = means.T
    correlations: Values = (xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y))
    return correlations.clip(-1, 1)


def _kappas(means: Values) -> Values:
    """Quadratic kappa from the means of `_products`."""
    x, y, xx, yy, xy = means.T
    kappas: Values = 2 * (xy - x * y) / (xx - x * x + yy - y * y + (x - y) ** 2)
    return kappas


def _slopes(means: Values) -> Values:
    """Slope of y on x from the means of `_products`."""
    x, y, xx, _, xy = means.T
    slopes: Values = (xy - x * y) / (xx - x * x)
    return slopes


def _bin(images: Sequence[Reliability], place: int) -> ReliabilityBin | None:
    inside = [image for image in images if image.share_B[place] > 0]
    pixels = float(sum(image.share_B[place] for image in inside))
    if not inside:
        return None
    return ReliabilityBin(
        num_images=len(inside),
        share=min(1.0, pixels / len(images)),
        probability=min(1.0, float(sum(image.probability_B[place] for image in inside)) / pixels),
        frequency=min(1.0, float(sum(image.frequency_B[place] for image in inside)) / pixels),
    )
