"""What a report says, to people and to machines."""

from __future__ import annotations

import json

from client.imaging.density import Density
from client.imaging.mammogram import Laterality, Spacing, View
from client.inference.report import DensityReport

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
        "warnings": [],
        "notice": "Research use, not for diagnosis",
    }


def test_what_is_unknown_is_null_and_never_a_number() -> None:
    document = UNKNOWN.to_json()
    assert document["interval_percent"] is None
    for key in ("breast_area_mm2", "dense_area_mm2", "spacing_mm", "view", "laterality"):
        assert document[key] is None


def test_the_lines_for_people_name_band_cut_points_and_warnings() -> None:
    assert KNOWN.headline() == "Percent density 31.3 %, band c"
    text = "\n".join(KNOWN.details())
    assert "uncalibrated" in text
    assert "Right breast, MLO, dense 38.6 cm2 of breast 123.5 cm2" in text
    assert "An expert's value: 24.0 to 38.5 %" in text
    assert "uncertainty 0.21" in text
    unknown = UNKNOWN.details()
    assert unknown[-1] == "The image is small."
    assert "Side unknown, view unknown, areas unknown (no pixel spacing)" in unknown
