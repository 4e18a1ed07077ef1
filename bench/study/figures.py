"""What an arm's test images say together: means with intervals, and agreement of percent density."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.study.results import ImageResult, Result

NUM_RESAMPLES = 2_000
INTERVAL_PERCENT = (2.5, 97.5)

Values = npt.NDArray[np.float64]
Statistic = Callable[[Values], float]
"""Of an array of images x measures, in the order of `MEASURES`."""

MEASURES = ("dice_dense", "dice_breast", "dice_pectoral", "percent_density", "expert_percent_density")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure with its 95 % bootstrap interval, images resampled within each hospital."""

    value: float
    low: float
    high: float


class ArmResults:
    """All test images of one arm: those of every fold."""

    def __init__(self, results: Sequence[Result]) -> None:
        images: dict[str, list[ImageResult]] = {}
        for result in results:
            for site, of_site in result.images.items():
                images.setdefault(site, []).extend(of_site)
        self._values: Mapping[str, Values] = {
            site: np.array([[getattr(image, name) for name in MEASURES] for image in images[site]])
            for site in sorted(images)
        }

    @property
    def num_images(self) -> dict[str, int]:
        """Test images of each hospital."""
        return {site: len(values) for site, values in self._values.items()}

    def value(self, statistic: Statistic, site: str | None = None) -> float:
        """A statistic over a hospital's images, or over all."""
        return statistic(np.concatenate(self._chosen(site)))

    def figure(self, statistic: Statistic, site: str | None = None) -> Figure:
        """A statistic over a hospital's images, or over all, with its interval."""
        chosen = self._chosen(site)
        random = np.random.default_rng(0)
        drawn = [
            statistic(np.concatenate([each[random.integers(0, len(each), len(each))] for each in chosen]))
            for _ in range(NUM_RESAMPLES)
        ]
        low, high = np.nanpercentile(drawn, INTERVAL_PERCENT)
        return Figure(value=self.value(statistic, site), low=float(low), high=float(high))

    def _chosen(self, site: str | None) -> list[Values]:
        return list(self._values.values()) if site is None else [self._values[site]]


def mean_of(measure: str) -> Statistic:
    """The mean of one measure over images."""
    place = MEASURES.index(measure)
    return lambda values: float(values[:, place].mean())


def density_error(values: Values) -> float:
    """Mean absolute error of percent density, in points."""
    return float(np.abs(values[:, 3] - values[:, 4]).mean())


def density_bias(values: Values) -> float:
    """Mean difference of percent density from the expert's, in points (Bland and Altman 1986)."""
    return float((values[:, 3] - values[:, 4]).mean())


def density_correlation(values: Values) -> float:
    """Pearson's r of percent density and the expert's."""
    return float(np.corrcoef(values[:, 3], values[:, 4])[0, 1])
