"""When density bands may be called by the readers' word."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shared.band_calibration import BandCalibration, band_in_words, calibration_of
from shared.evaluation.records import DensityCategories, Evaluation, ExpectedBand

PAIRS = {
    "num_images": 100,
    "mean_measured": 1.5,
    "mean_expert": 1.5,
    "variance_measured": 1.0,
    "variance_expert": 1.0,
    "covariance": 0.8,
    "mean_absolute_difference": 0.3,
}
EXPECTED = {**PAIRS, "variance_measured": 0.8}


def told(expected: dict[str, Any] | None = EXPECTED, **changes: float) -> Evaluation:
    """What a site tells: quadratic kappa 0.8, bias 0 and slope 1, if nothing is changed."""
    categories = DensityCategories(
        **{**PAIRS, **changes},
        num_in_rarest=10,
        expected=None if expected is None else ExpectedBand(**expected),
    )
    return Evaluation(num_examples=100, density_categories=categories)


def test_readers_categories_at_two_sites_that_agree_with_the_bands_calibrate_them() -> None:
    calibration = calibration_of("readers", [told(), told(), Evaluation(num_examples=50)])

    assert calibration == BandCalibration(num_sites=2, num_images=200, kappa=0.8, bias=0.0, slope=1.0)
    assert band_in_words("c", calibration) == "likely BI-RADS density category c"


@pytest.mark.parametrize(
    ("source", "sites"),
    [
        (None, [told(), told()]),
        ("simulated", [told(), told()]),
        ("readers", []),
        ("readers", [Evaluation(num_examples=500)]),
        ("readers", [told(num_images=400, expected={**EXPECTED, "num_images": 400})]),  # one site
        ("readers", [told(), told(expected={**EXPECTED, "num_images": 99})]),
        ("readers", [told(expected=None), told(expected=None), told(expected=None)]),  # no probabilities
        ("readers", [told(covariance=0.59), told(covariance=0.59)]),  # kappa 0.59
        ("readers", [told(expected={**EXPECTED, "mean_measured": 1.61})] * 2),  # bias 0.11
        ("readers", [told(expected={**EXPECTED, "mean_measured": 1.39})] * 2),
        ("readers", [told(expected={**EXPECTED, "covariance": 0.63})] * 2),  # slope 0.79
        ("readers", [told(expected={**EXPECTED, "variance_measured": 0.6})] * 2),  # slope 1.33
        ("readers", [told(expected={**EXPECTED, "variance_measured": 0.0, "covariance": 0.0})] * 2),
    ],
)
def test_less_than_that_leaves_them_uncalibrated(source: Any, sites: list[Evaluation]) -> None:
    calibration = calibration_of(source, sites)

    assert calibration is None
    assert band_in_words("c", calibration) == "density band c (uncalibrated)"


@pytest.mark.parametrize(
    "change", [{"num_sites": 1}, {"num_images": 199}, {"kappa": 0.5}, {"bias": 0.2}, {"slope": float("nan")}]
)
def test_no_manifest_can_claim_less(change: dict[str, float]) -> None:
    enough = {"num_sites": 2, "num_images": 200, "kappa": 0.8, "bias": 0.0, "slope": 1.0}
    assert BandCalibration.model_validate(enough)

    with pytest.raises(ValidationError):
        BandCalibration.model_validate({**enough, **change})
