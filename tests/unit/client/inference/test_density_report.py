"""What a report says, to people and to machines."""

from __future__ import annotations

import json
from dataclasses import replace

from client.imaging.density import Density
from client.imaging.mammogram import Laterality, Spacing, View
from client.inference.report import DensityReport
from shared.model.density_band import DensityBand

KNOWN = DensityReport(
    density=Density(percent_density=31.257, breast_area_mm2=12345.678, dense_area_mm2=3858.9),
    interval_percent=(24.0, 38.456),
    uncertainty=0.21337,
    spacing=Spacing(row_mm=0.1, column_mm=0.1),
    view=View.MLO,
    laterality=Laterality.RIGHT,
    model_id="model-7",
    warnings=(),
)
UNKNOWN = DensityReport(
    density=Density(percent_density=5.0, breast_area_mm2=None, dense_area_mm2=None),
    interval_percent=None,
    uncertainty=0.5,
    spacing=None,
    view=None,
    laterality=None,
    model_id="model-7",
    warnings=("The image is small.",),
)


def test_the_json_form_holds_every_figure_and_the_cut_points() -> None:
    assert json.loads(json.dumps(KNOWN.to_json())) == {
        "percent_density": 31.26,
        "interval_percent": [24.0, 38.46],
        "uncertainty": 0.2134,
        "band": "c",
        "band_calibration": "uncalibrated",
        "cut_points_percent": [8.0, 22.0, 45.0],
        "breast_area_mm2": 12345.7,
        "dense_area_mm2": 3858.9,
        "spacing_mm": [0.1, 0.1],
        "view": "MLO",
        "laterality": "R",
        "model_id": "model-7",
        "has_own_layers": False,
        "warnings": [],
        "notice": "Research use, not for diagnosis",
    }


def test_a_measurement_by_a_sites_own_model_says_so() -> None:
    own = replace(KNOWN, has_own_layers=True)

    assert own.to_json()["has_own_layers"] is True
    assert "Model model-7, with this site's own layers" in own.details()
    assert "Model model-7" in KNOWN.details()


def test_what_is_unknown_is_null_and_never_a_number() -> None:
    document = UNKNOWN.to_json()
    assert document["interval_percent"] is None
    for key in ("breast_area_mm2", "dense_area_mm2", "spacing_mm", "view", "laterality"):
        assert document[key] is None


def test_the_lines_for_people_name_band_cut_points_and_warnings() -> None:
    assert KNOWN.headline() == "Percent density 31.3 %, density band c (uncalibrated)"
    text = "\n".join(KNOWN.details())
    assert "uncalibrated" in text
    assert "Right breast, MLO, dense 38.6 cm2 of breast 123.5 cm2" in text
    assert "An expert's value: 24.0 to 38.5 %" in text
    assert "uncertainty 0.21" in text
    unknown = UNKNOWN.details()
    assert unknown[-1] == "The image is small."
    assert "Side unknown, view unknown, areas unknown (no pixel spacing)" in unknown
    assert "No interval: the sites have told of fewer than 20 test images" in "\n".join(unknown)


def test_a_models_own_head_gives_the_band_with_its_probabilities_and_asks_for_a_second_read() -> None:
    unsure = replace(KNOWN, likely_band=DensityBand(probabilities=(0.01, 0.5, 0.48, 0.01)))
    assert unsure.headline() == "Percent density 31.3 %, density band b (uncalibrated)"
    assert unsure.details()[0] == "Bands uncalibrated: a 1 %, b 50 %, c 48 %, d 1 %; borderline, second read"
    document = unsure.to_json()
    assert document["band"] == "b"
    assert document["band_probabilities"] == {"a": 0.01, "b": 0.5, "c": 0.48, "d": 0.01}
    assert document["second_read"] is True
    assert document["band_calibration"] == "uncalibrated"
    assert "cut_points_percent" not in document
    sure = replace(KNOWN, likely_band=DensityBand(probabilities=(0.0, 0.1, 0.9, 0.0)))
    assert "second read" not in sure.details()[0]
    assert sure.to_json()["second_read"] is False


def test_no_report_speaks_of_readers_categories() -> None:
    for report in (KNOWN, replace(KNOWN, likely_band=DensityBand(probabilities=(0.0, 0.1, 0.9, 0.0)))):
        said = report.headline() + "".join(report.details()) + json.dumps(report.to_json())
        assert "rads" not in said.lower()
        assert "uncalibrated" in said
