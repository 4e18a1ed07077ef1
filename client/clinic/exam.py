"""From the images of one exam to a density for each breast and for the woman: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from client.imaging.density import density_band
from client.imaging.mammogram import Laterality, View
from client.inference.report import DensityReport
from shared.band_calibration import BandCalibration
from shared.bands import Band
from shared.model.density_band import DensityBand


@dataclass(frozen=True, slots=True, kw_only=True)
class BreastDensity:
    """One breast: the mean of its views, each of which is the mean of its images.

    Attributes
    ----------
    views
        That were measured; density is best known of both.
    percent_density
        In %.
    breast_area_mm2, dense_area_mm2
        None where the spacing of an image is unknown.
    likely_band
        Means of the images' probabilities; None where the model has no head for bands.
    """

    laterality: Laterality
    views: tuple[View, ...]
    percent_density: float
    breast_area_mm2: float | None
    dense_area_mm2: float | None
    likely_band: DensityBand | None

    @property
    def band(self) -> Band:
        """The density band."""
        return density_band(self.percent_density) if self.likely_band is None else self.likely_band.band

    def to_json(self) -> dict[str, object]:
        """Plain JSON values; null where something is unknown."""
        return {
            "laterality": self.laterality.value,
            "views": [view.value for view in self.views],
            "percent_density": round(self.percent_density, 2),
            "breast_area_mm2": None if self.breast_area_mm2 is None else round(self.breast_area_mm2, 1),
            "dense_area_mm2": None if self.dense_area_mm2 is None else round(self.dense_area_mm2, 1),
            "band": self.band,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamDensity:
    """One exam.

    Attributes
    ----------
    breasts
        That were measured, left before right.
    calibration
        Of the model's bands; None is uncalibrated.
    """

    breasts: tuple[BreastDensity, ...]
    calibration: BandCalibration | None

    @property
    def denser(self) -> BreastDensity | None:
        """The breast that the woman's density is of; None if none was measured."""
        return max(self.breasts, key=lambda breast: breast.percent_density, default=None)

    def to_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "breasts": [breast.to_json() for breast in self.breasts],
            "denser": None if self.denser is None else self.denser.laterality.value,
            "band_calibration": "uncalibrated" if self.calibration is None else self.calibration.model_dump(),
        }


def exam_density(reports: Sequence[DensityReport]) -> ExamDensity:
    """Put the images of an exam together; those of an unknown side or view count for no breast."""
    breasts = tuple(
        breast
        for side in (Laterality.LEFT, Laterality.RIGHT)
        if (breast := _breast(side, [one for one in reports if one.laterality is side])) is not None
    )
    return ExamDensity(breasts=breasts, calibration=reports[0].calibration if reports else None)


def _breast(side: Laterality, reports: Sequence[DensityReport]) -> BreastDensity | None:
    by_view = {view: [one for one in reports if one.view is view] for view in View}
    seen = {view: images for view, images in by_view.items() if images}
    if not seen:
        return None
    densities = [[one.density for one in images] for images in seen.values()]
    return BreastDensity(
        laterality=side,
        views=tuple(seen),
        percent_density=_mean([_mean([one.percent_density for one in view]) for view in densities]),
        breast_area_mm2=_area([[one.breast_area_mm2 for one in view] for view in densities]),
        dense_area_mm2=_area([[one.dense_area_mm2 for one in view] for view in densities]),
        likely_band=_band([[one.likely_band for one in images] for images in seen.values()]),
    )


def _area(by_view: Sequence[Sequence[float | None]]) -> float | None:
    known = [[area for area in view if area is not None] for view in by_view]
    if any(len(view) < len(all_of_view) for view, all_of_view in zip(known, by_view, strict=True)):
        return None
    return _mean([_mean(view) for view in known])


def _band(by_view: Sequence[Sequence[DensityBand | None]]) -> DensityBand | None:
    known = [[band.probabilities for band in view if band is not None] for view in by_view]
    if not all(known):
        return None
    means = np.mean([np.mean(view, axis=0) for view in known], axis=0)
    return DensityBand(probabilities=tuple(float(each) for each in means))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
