"""From images to breasts to the woman; the numbers are worked out by hand."""

from __future__ import annotations

import pytest

from client.clinic.exam import exam_density
from client.clinic.identity import ModelIdentity, identify
from client.imaging.density import Density
from client.imaging.mammogram import Laterality, View
from client.inference.report import DensityReport
from shared.band_calibration import BandCalibration
from shared.model.density_band import DensityBand

LEFT, RIGHT = Laterality.LEFT, Laterality.RIGHT
MODEL = ModelIdentity(model_id="test-1", manifest_sha256="a" * 64)


def image(
    side: Laterality | None,
    view: View | None,
    percent: float,
    *,
    area_mm2: float | None = 10_000.0,
    likely: tuple[float, ...] | None = None,
    calibration: BandCalibration | None = None,
) -> DensityReport:
    return DensityReport(
        density=Density(
            percent_density=percent,
            breast_area_mm2=area_mm2,
            dense_area_mm2=None if area_mm2 is None else area_mm2 * percent / 100,
        ),
        interval_percent=None,
        uncertainty=0.1,
        spacing=None,
        view=view,
        laterality=side,
        model_id="test-1",
        warnings=(),
        likely_band=None if likely is None else DensityBand(probabilities=likely),
        calibration=calibration,
    )


def test_a_breast_is_the_mean_of_cc_and_mlo_and_the_woman_her_denser_breast() -> None:
    exam = exam_density(
        [
            image(RIGHT, View.CC, 30.0),
            image(RIGHT, View.MLO, 20.0, area_mm2=20_000.0),
            image(LEFT, View.CC, 10.0),
            image(LEFT, View.MLO, 12.0),
        ]
    )

    left, right = exam.breasts
    assert (left.percent_density, right.percent_density) == (11.0, 25.0)
    assert right.breast_area_mm2 == 15_000.0
    assert right.dense_area_mm2 == (3_000.0 + 4_000.0) / 2
    assert exam.denser == right
    assert right.band == "c"


def test_a_view_that_was_taken_twice_counts_once() -> None:
    (left,) = exam_density(
        [image(LEFT, View.CC, 10.0), image(LEFT, View.CC, 20.0), image(LEFT, View.MLO, 45.0)]
    ).breasts

    assert left.percent_density == (15.0 + 45.0) / 2


def test_one_view_alone_is_told_as_such_and_no_image_without_a_side_or_view_counts() -> None:
    exam = exam_density([image(LEFT, View.CC, 10.0), image(None, View.CC, 90.0), image(RIGHT, None, 80.0)])

    (left,) = exam.breasts
    assert left.views == (View.CC,)
    assert exam.denser == left


def test_an_exam_without_a_number_has_no_denser_breast() -> None:
    exam = exam_density([])

    assert exam.breasts == ()
    assert exam.denser is None
    assert exam.to_json()["denser"] is None


def test_areas_of_a_breast_are_unknown_if_one_image_does_not_tell_its_spacing() -> None:
    (left,) = exam_density([image(LEFT, View.CC, 10.0), image(LEFT, View.MLO, 20.0, area_mm2=None)]).breasts

    assert left.percent_density == 15.0
    assert left.breast_area_mm2 is None
    assert left.dense_area_mm2 is None


def test_probabilities_of_a_breast_are_the_means_of_its_views() -> None:
    calibration = BandCalibration(num_sites=3, num_images=420, kappa=0.81, bias=0.02, slope=0.97)
    views = [
        image(LEFT, View.CC, 10.0, likely=(0.5, 0.3, 0.2, 0.0), calibration=calibration),
        image(LEFT, View.MLO, 10.0, likely=(0.1, 0.3, 0.6, 0.0), calibration=calibration),
    ]

    exam = exam_density(views)

    (left,) = exam.breasts
    assert left.likely_band is not None
    assert left.likely_band.probabilities == pytest.approx((0.3, 0.3, 0.4, 0.0))
    assert left.band == "c"
    assert exam.calibration == calibration


def test_the_same_image_and_model_get_the_same_identifiers_and_others_get_others() -> None:
    first = identify("1.2", ("1.2.3", "1.2.4"), "report", MODEL)
    again = identify("1.2", ("1.2.4", "1.2.3"), "report", MODEL)
    other_model = ModelIdentity(model_id="test-1", manifest_sha256="b" * 64)

    assert first == again
    assert len(first.sop_uid) <= 64
    others = [
        identify("1.2", ("1.2.3",), "report", MODEL),
        identify("1.2", ("1.2.3", "1.2.4"), "segmentation", MODEL),
        identify("1.2", ("1.2.3", "1.2.4"), "report", other_model),
    ]
    assert len({one.sop_uid for one in [first, *others]}) == 4
