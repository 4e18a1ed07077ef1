"""Every line of the table of suggestions, and when nothing may be suggested at all."""

from __future__ import annotations

import pytest

from client.clinic.exam import BreastDensity, ExamDensity
from client.followup.clinical import ClinicalInputs
from client.followup.settings import FollowUpSettings
from client.followup.suggestion import LABEL, RULES, Suggestion, suggest
from client.imaging.mammogram import Laterality, View
from shared.band_calibration import BandCalibration
from shared.model.density_band import DensityBand

CALIBRATION = BandCalibration(num_sites=3, num_images=420, kappa=0.81, bias=0.02, slope=0.97)
EVERYTHING = FollowUpSettings(mri=True, contrast_mammography=True, ultrasound=True)
SURE = {
    "a": (0.9, 0.1, 0.0, 0.0),
    "b": (0.1, 0.8, 0.1, 0.0),
    "c": (0.0, 0.1, 0.8, 0.1),
    "d": (0.0, 0.0, 0.1, 0.9),
}


def exam(
    probabilities: tuple[float, ...] | None, calibration: BandCalibration | None = CALIBRATION
) -> ExamDensity:
    breast = BreastDensity(
        laterality=Laterality.LEFT,
        views=(View.CC, View.MLO),
        percent_density=30.0,
        breast_area_mm2=None,
        dense_area_mm2=None,
        likely_band=None if probabilities is None else DensityBand(probabilities=probabilities),
    )
    return ExamDensity(breasts=(breast,), calibration=calibration)


def suggested(band: str, settings: FollowUpSettings = EVERYTHING, *, age: int | None = 55) -> Suggestion:
    found = suggest(exam(SURE[band]), settings, age=age)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("band", "settings", "age", "code"),
    [
        ("d", EVERYTHING, 55, "MRI"),
        ("d", EVERYTHING, 50, "MRI"),
        ("d", EVERYTHING, 70, "MRI"),
        ("d", EVERYTHING, 49, "ULTRASOUND"),  # 1.8 %, and MRI is offered from 50 on
        ("d", EVERYTHING, None, "ROUTINE"),  # no age, so neither MRI nor a risk
        ("d", FollowUpSettings(contrast_mammography=True), 55, "CEM"),
        ("c", FollowUpSettings(contrast_mammography=True, ultrasound=True), 55, "CEM"),
        ("c", EVERYTHING, 60, "ULTRASOUND"),  # 2.4 %
        ("c", EVERYTHING, 50, "ROUTINE"),  # 1.46 %, below 1.67 %
        ("c", FollowUpSettings(ultrasound=True, min_risk_percent=1.0), 50, "ULTRASOUND"),
        ("c", FollowUpSettings(), 60, "ROUTINE"),  # the hospital has nothing else
        ("b", EVERYTHING, 60, "ROUTINE"),
        ("a", EVERYTHING, 60, "ROUTINE"),
    ],
)
def test_the_first_line_that_applies_is_suggested(
    band: str, settings: FollowUpSettings, age: int | None, code: str
) -> None:
    assert suggested(band, settings, age=age).code == code


@pytest.mark.parametrize(
    "probabilities",
    [
        (0.0, 0.0, 0.5, 0.5),
        (0.0, 0.0, 0.36, 0.64),  # d is the likeliest, but not by enough
        (0.0, 0.45, 0.55, 0.0),
    ],
)
def test_between_categories_a_second_read_is_suggested(probabilities: tuple[float, ...]) -> None:
    found = suggest(exam(probabilities), EVERYTHING, age=55)

    assert found is not None
    assert found.code == "SECOND-READ"


def test_family_history_and_biopsies_raise_the_risk_as_the_model_says() -> None:
    known = ClinicalInputs(family_history=True, biopsies=2)
    found = suggest(exam(SURE["d"]), EVERYTHING, age=50, inputs=known)

    assert found is not None
    # The published vector: a white woman of 50 with category d, family history and a biopsy.
    assert found.five_year_risk_percent == pytest.approx(4.126, abs=0.001)
    assert found.basis == "age 50, family history yes, biopsies 2"
    assert suggested("d", age=50).basis == "age 50, nothing else"


def test_the_age_of_the_table_stands_in_where_the_images_have_none() -> None:
    known = ClinicalInputs(age=55)
    missing = suggest(exam(SURE["d"]), EVERYTHING, age=None, inputs=known)
    contradicted = suggest(exam(SURE["d"]), EVERYTHING, age=45, inputs=known)

    assert missing is not None
    assert contradicted is not None
    assert (missing.code, contradicted.basis) == ("MRI", "age 45, nothing else")


def test_a_high_lifetime_risk_that_was_computed_elsewhere_comes_first() -> None:
    known = ClinicalInputs(lifetime_risk_percent=20)

    for probabilities in SURE.values():
        found = suggest(exam(probabilities), EVERYTHING, age=45, inputs=known)
        assert found is not None
        assert found.code == "MRI-YEARLY"
    elsewhere = suggest(exam(SURE["a"]), FollowUpSettings(), age=45, inputs=known)
    assert elsewhere is not None
    assert elsewhere.code == "ROUTINE"


def test_a_polygenic_score_counts_where_the_site_says_so_and_is_called_experimental() -> None:
    known = ClinicalInputs(polygenic_z=2.0)
    without = suggest(exam(SURE["c"]), EVERYTHING, age=50, inputs=known)
    counted = suggest(
        exam(SURE["c"]), EVERYTHING.model_copy(update={"polygenic": True}), age=50, inputs=known
    )

    assert without is not None
    assert counted is not None
    assert without.five_year_risk_percent == pytest.approx(1.463, abs=0.001)
    # exp(ln 1.61 x 2 - (ln 1.61)^2 / 2) = 2.5921 x 0.8928
    assert counted.five_year_risk_percent == pytest.approx(1.463 * 2.3143, rel=1e-3)
    assert "experimental, made for European ancestry" in counted.basis
    assert "polygenic" not in without.basis


def test_nothing_is_suggested_unless_the_site_says_so() -> None:
    assert suggest(exam(SURE["d"]), None, age=55) is None


def test_nothing_is_suggested_by_a_category_that_is_not_calibrated() -> None:
    assert suggest(exam(SURE["d"], calibration=None), EVERYTHING, age=55) is None
    assert suggest(exam(None), EVERYTHING, age=55) is None


def test_nothing_is_suggested_where_nothing_was_measured() -> None:
    assert suggest(ExamDensity(breasts=(), calibration=CALIBRATION), EVERYTHING, age=55) is None


def test_no_suggestion_is_without_reason_evidence_and_label() -> None:
    for rule in RULES:
        assert rule.reason.endswith(".")
        assert rule.evidence.endswith(".")
        assert len(rule.code) <= 16
        assert len(rule.words) <= 64
    told = suggested("d").to_json()
    assert told["label"] == LABEL
    assert "radiologist decides" in LABEL
    assert told["as_of"] == "2026-12-01"
    assert told["five_year_risk_percent"] == pytest.approx(2.5, abs=0.3)
