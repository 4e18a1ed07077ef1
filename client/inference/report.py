"""What a person and a machine are told about the density of one mammogram."""

from __future__ import annotations

from dataclasses import dataclass

from client.imaging.density import Density, bands_in_words
from client.imaging.mammogram import Laterality, Spacing, View
from client.imaging.overlay import NOTICE
from shared.band_calibration import BandCalibration, band_in_words
from shared.bands import BANDS, CUT_POINTS_PERCENT, Band
from shared.model.density_band import DensityBand
from shared.reference import LEAST_FOR_LIMITS


@dataclass(frozen=True, slots=True, kw_only=True)
class DensityReport:
    """The density of one mammogram and everything needed to judge it.

    Attributes
    ----------
    density
        What was measured.
    spacing
        Of the file's pixels in the plane of the breast; None when unknown, and then areas are too.
    interval_percent
        Where an expert's percent density lies for 95 % of the images that the model was tested on, as far
        from this one's as there; None where the model's package does not tell.
    uncertainty
        Mean entropy, in bits, of what the network says of dense tissue over the breast: 0 where it is
        certain of every pixel, 1 where it is of none.
    model_id
        The model that segmented.
    warnings
        One line each; empty when there is nothing to warn of.
    has_own_layers
        Whether layers of this site's own were in the model.
    likely_band
        As the model's own head has it; None of a model without one: then percent density alone decides.
    calibration
        Of the model's bands, from its passport; None is uncalibrated.
    """

    density: Density
    interval_percent: tuple[float, float] | None
    uncertainty: float
    spacing: Spacing | None
    view: View | None
    laterality: Laterality | None
    model_id: str
    warnings: tuple[str, ...]
    has_own_layers: bool = False
    likely_band: DensityBand | None = None
    calibration: BandCalibration | None = None

    @property
    def band(self) -> Band:
        """The density band."""
        return self.density.band if self.likely_band is None else self.likely_band.band

    @property
    def second_read(self) -> bool:
        """The band is borderline: somebody should read the image a second time."""
        return self.likely_band is not None and self.likely_band.is_borderline

    def headline(self) -> str:
        """The finding on one line."""
        percent = self.density.percent_density
        return f"Percent density {percent:.1f} %, {band_in_words(self.band, self.calibration)}"

    def details(self) -> tuple[str, ...]:
        """What belongs under the headline, one line each."""
        density = self.density
        side = "Side unknown" if self.laterality is None else f"{self.laterality.name.capitalize()} breast"
        shown = f"{side}, {self.view or 'view unknown'}"
        if density.breast_area_mm2 is None or density.dense_area_mm2 is None:
            areas = "areas unknown (no pixel spacing)"
        else:
            dense_cm2, breast_cm2 = density.dense_area_mm2 / 100, density.breast_area_mm2 / 100
            areas = f"dense {dense_cm2:.1f} cm2 of breast {breast_cm2:.1f} cm2"
        return (
            self._bands(),
            f"{shown}, {areas}",
            f"{self._interval()}; uncertainty {self.uncertainty:.2f} (0 none, 1 all)",
            f"Model {self.model_id}" + (", with this site's own layers" if self.has_own_layers else ""),
            *self.warnings,
        )

    def _interval(self) -> str:
        if self.interval_percent is None:
            return (
                f"No interval: the sites have told of fewer than {LEAST_FOR_LIMITS} test images of this model"
            )
        lower, upper = self.interval_percent
        return f"An expert's value: {lower:.1f} to {upper:.1f} %, as in 95 % of the sites' test images"

    def to_json(self) -> dict[str, object]:
        """The report as plain JSON values; null where something is unknown."""
        spacing, density = self.spacing, self.density
        return {
            "percent_density": round(density.percent_density, 2),
            "interval_percent": None
            if self.interval_percent is None
            else [round(end, 2) for end in self.interval_percent],
            "uncertainty": round(self.uncertainty, 4),
            "band": self.band,
            "band_calibration": "uncalibrated" if self.calibration is None else self.calibration.model_dump(),
            **self._bands_json(),
            "breast_area_mm2": _rounded(density.breast_area_mm2),
            "dense_area_mm2": _rounded(density.dense_area_mm2),
            "spacing_mm": None if spacing is None else [spacing.row_mm, spacing.column_mm],
            "view": self.view,
            "laterality": self.laterality,
            "model_id": self.model_id,
            "has_own_layers": self.has_own_layers,
            "warnings": list(self.warnings),
            "notice": NOTICE,
        }

    def _bands(self) -> str:
        """How the band was found, on one line."""
        if self.likely_band is None:
            return f"Bands {bands_in_words()}"
        pairs = zip(BANDS, self.likely_band.probabilities, strict=True)
        shares = ", ".join(f"{band} {100 * probability:.0f} %" for band, probability in pairs)
        how = "uncalibrated" if self.calibration is None else self.calibration.words
        return f"Bands {how}: {shares}{'; borderline, second read' if self.second_read else ''}"

    def _bands_json(self) -> dict[str, object]:
        if self.likely_band is None:
            return {"cut_points_percent": list(CUT_POINTS_PERCENT)}
        pairs = zip(BANDS, self.likely_band.probabilities, strict=True)
        return {
            "band_probabilities": {band: round(probability, 3) for band, probability in pairs},
            "second_read": self.second_read,
        }


def _rounded(area_mm2: float | None) -> float | None:
    return None if area_mm2 is None else round(area_mm2, 1)
