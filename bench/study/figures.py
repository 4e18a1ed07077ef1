"""What test images say together: figures with intervals, of one model or of several on the same images.

Axes: R resamples, I images, S segments in the order of `SEGMENTS`, 3 counts in the order of `Pixels`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.study.results import CLASSES, SEGMENTS, ImageResult, Result

NUM_RESAMPLES = 2_000
INTERVAL_PERCENT = (2.5, 97.5)

Counts = npt.NDArray[np.int64]
"""Of some images, IS3, or of each of many resamples, RIS3."""

Values = npt.NDArray[np.float64]
Statistic = Callable[[Counts], Values]
"""One value, or one of each resample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure with its 95 % bootstrap interval, images resampled within each hospital."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """A hospital's test images under one model, in the order of their names.

    Attributes
    ----------
    folds
        In which each was tested.
    """

    images: tuple[str, ...]
    folds: npt.NDArray[np.int64]
    counts: Counts

    @classmethod
    def of(cls, images: Sequence[tuple[ImageResult, int]]) -> Tested:
        """From images and their folds."""
        ordered = sorted(images, key=lambda one: one[0].image)
        counts = [[one.pixels[segment] for segment in SEGMENTS] for one, _fold in ordered]
        return cls(
            images=tuple(one.image for one, _fold in ordered),
            folds=np.array([fold for _one, fold in ordered], np.int64),
            counts=np.array(counts, np.int64).reshape(-1, len(SEGMENTS), 3),
        )


class ArmResults:
    """The test images of one arm, by hospital."""

    def __init__(self, by_site: Mapping[str, Tested]) -> None:
        self.by_site = {site: by_site[site] for site in sorted(by_site)}

    @classmethod
    def of(cls, results: Sequence[Result], *, without: Collection[str] = ()) -> ArmResults:
        """The images of some folds, but for those of some names."""
        images: dict[str, list[tuple[ImageResult, int]]] = {}
        for result in results:
            for site, of_site in result.images.items():
                kept = [(one, result.fold) for one in of_site if one.image not in without]
                images.setdefault(site, []).extend(kept)
        return cls({site: Tested.of(of_site) for site, of_site in images.items() if of_site})

    @property
    def num_images(self) -> dict[str, int]:
        """Test images of each hospital."""
        return {site: len(tested.images) for site, tested in self.by_site.items()}

    def counts(self, site: str | None) -> list[Counts]:
        """Those of a hospital, or of each."""
        return [self.by_site[name].counts for name in self.by_site if site in (None, name)]

    def value(self, statistic: Statistic, site: str | None = None) -> float:
        """A statistic over a hospital's images, or over all."""
        return float(statistic(np.concatenate(self.counts(site))))

    def figure(self, statistic: Statistic, site: str | None = None) -> Figure:
        """A statistic over a hospital's images, or over all, with its interval."""
        return figure_of([self], statistic, site)

    def by_fold(self, statistic: Statistic) -> list[float]:
        """A statistic over the images of each fold."""
        counts = np.concatenate(self.counts(None))
        folds = np.concatenate([tested.folds for tested in self.by_site.values()])
        return [float(statistic(counts[folds == fold])) for fold in np.unique(folds)]


def figure_of(
    arms: Sequence[ArmResults], statistic: Callable[..., Values], site: str | None = None
) -> Figure:
    """A statistic of several arms on the same images, such as a difference, with its interval.

    Parameters
    ----------
    statistic
        Of the counts of each arm, in their order; every resample takes the same images of all arms.
    """
    first, *others = [[tested.images for tested in arm.by_site.values()] for arm in arms]
    assert all(images == first for images in others)
    random = np.random.default_rng(0)
    places = [
        random.integers(0, len(counts), (NUM_RESAMPLES, len(counts))) for counts in arms[0].counts(site)
    ]
    drawn = [
        np.concatenate(
            [counts[drawn_RI] for counts, drawn_RI in zip(arm.counts(site), places, strict=True)], axis=1
        )
        for arm in arms
    ]
    low, high = np.nanpercentile(statistic(*drawn), INTERVAL_PERCENT)
    value = statistic(*(np.concatenate(arm.counts(site)) for arm in arms))
    return Figure(value=float(value), low=float(low), high=float(high))


def dice_of(segment: str) -> Statistic:
    """The mean over images of the Dice coefficient."""
    return lambda counts: _dice(counts, segment).mean(axis=-1)


def pixel_dice_of(segment: str) -> Statistic:
    """The Dice coefficient of the pixels of all images together."""
    return lambda counts: _dice(counts.sum(axis=-3), segment)


def four_class_dice(counts: Counts) -> Values:
    """The mean over images and over background, adipose and dense tissue, and pectoral muscle, of Dice."""
    mean: Values = np.mean([dice_of(name)(counts) for name in CLASSES], axis=0)
    return mean


def density_error(counts: Counts) -> Values:
    """Mean absolute error of percent density, in points."""
    measured, expert = densities(counts)
    error: Values = np.abs(measured - expert).mean(axis=-1)
    return error


def density_bias(counts: Counts) -> Values:
    """Mean difference of percent density from the expert's, in points (Bland and Altman 1986)."""
    measured, expert = densities(counts)
    bias: Values = (measured - expert).mean(axis=-1)
    return bias


def density_correlation(counts: Counts) -> Values:
    """Pearson's r of percent density and the expert's; NaN where either does not vary."""
    measured, expert = (each - each.mean(axis=-1, keepdims=True) for each in densities(counts))
    with np.errstate(invalid="ignore"):
        r: Values = (measured * expert).sum(axis=-1) / np.sqrt(
            (measured**2).sum(axis=-1) * (expert**2).sum(axis=-1)
        )
    return r


def densities(counts: Counts) -> tuple[Values, Values]:
    """Percent density of each image, as measured and the expert's, in %."""
    dense, breast = (counts[..., SEGMENTS.index(name), :] for name in ("dense", "breast"))
    density = 100.0 * dense / np.maximum(breast, 1)
    return density[..., 1], density[..., 2]


def _dice(counts: Counts, segment: str) -> Values:
    """1 where neither has the segment."""
    both, measured, expert = np.moveaxis(counts[..., SEGMENTS.index(segment), :], -1, 0)
    size = measured + expert
    return np.where(size > 0, 2.0 * both / np.maximum(size, 1), 1.0)
