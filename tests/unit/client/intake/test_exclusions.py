"""Every reason to leave an image out is found in a header that has it, and in no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit

from client.imaging.mammogram import Laterality, Side
from client.intake.dicom_file import read_header
from client.intake.exclusions import EXPLANATIONS, Reason, reasons_against, refusal
from shared.errors import IntakeError

MakeDicom = Callable[..., Path]
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def code(value: str, scheme: str, *modifiers: tuple[str, str]) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "any"
    if modifiers:
        item.ViewModifierCodeSequence = [code(*modifier) for modifier in modifiers]
    return item


def test_a_plain_mammogram_has_no_reason_against_it(make_dicom: MakeDicom) -> None:
    assert reasons_against(read_header(make_dicom())) == []


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"}, Reason.NOT_A_MAMMOGRAM),
        ({"SOPClassUID": SECONDARY_CAPTURE, "Modality": "OT"}, Reason.NOT_A_MAMMOGRAM),
        ({"SOPClassUID": SECONDARY_CAPTURE}, Reason.SECONDARY_CAPTURE),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"}, Reason.TOMOSYNTHESIS),
        ({"NumberOfFrames": 40}, Reason.TOMOSYNTHESIS),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2.1"}, Reason.FOR_PROCESSING),
        ({"PixelData": None}, Reason.NO_PIXELS),
        ({"StudyDescription": "Stereotactic biopsy left"}, Reason.BIOPSY),
        ({"SeriesDescription": "NEEDLE LOCALISATION"}, Reason.BIOPSY),
        ({"StudyDescription": "breast specimen"}, Reason.SPECIMEN),
        ({"BreastImplantPresent": "YES"}, Reason.IMPLANT),
        ({"ViewCodeSequence": [code("R-10242", "SNM3", ("R-102D7", "SNM3"))]}, Reason.SPOT),
        ({"ViewCodeSequence": [code("399162004", "SCT", ("399163009", "SCT"))]}, Reason.MAGNIFICATION),
        ({"EstimatedRadiographicMagnificationFactor": "1.8"}, Reason.MAGNIFICATION),
        ({"ViewCodeSequence": [code("R-10242", "SRT", ("R-102D5", "SRT"))]}, Reason.IMPLANT_DISPLACED),
        ({"ViewCodeSequence": [code("R-10242", "SRT", ("R-102D2", "SRT"))]}, Reason.PARTIAL),
        ({"PartialView": "YES"}, Reason.PARTIAL),
        ({"ViewPosition": "XCCL"}, Reason.VIEW),
        ({"ViewPosition": None, "ViewCodeSequence": [code("Y-X1770", "SNM3")]}, Reason.VIEW),
        ({"ViewPosition": None}, Reason.VIEW_UNKNOWN),
        ({"ImageLaterality": None}, Reason.LATERALITY_UNKNOWN),
        ({"ImageLaterality": "B"}, Reason.LATERALITY_UNKNOWN),
        ({"ImagerPixelSpacing": None}, Reason.TOO_SMALL),
        ({"ImagerPixelSpacing": [0.07, 0.07]}, Reason.TOO_SMALL),
        ({"LossyImageCompression": "01"}, Reason.LOSSY),
    ],
    ids=str,
)
def test_each_kind_of_image_to_leave_out_is_recognised(
    make_dicom: MakeDicom, attributes: dict[str, Any], reason: Reason
) -> None:
    assert reasons_against(read_header(make_dicom(**attributes)))[0] is reason


def test_a_lossy_transfer_syntax_is_lossy_whatever_the_flag_says(make_dicom: MakeDicom) -> None:
    path = make_dicom(syntax=JPEGBaseline8Bit, frame=b"\xff\xd8\xff\xd9", LossyImageCompression="00")
    assert Reason.LOSSY in reasons_against(read_header(path))


def test_every_reason_is_explained_in_one_line_each_with_an_error_of_the_intake() -> None:
    for reason in Reason:
        explanation = EXPLANATIONS[reason]
        error = refusal(reason)
        assert isinstance(error, IntakeError)
        assert 40 <= error.exit_code < 60
        for line in (explanation.message, explanation.remedy):
            assert "\n" not in line
            assert line.endswith(".")


def test_the_view_is_taken_from_the_code_then_the_position_then_a_cbis_orientation(
    make_dicom: MakeDicom,
) -> None:
    coded = make_dicom(ViewPosition="CC", ViewCodeSequence=[code("399368009", "SCT")])
    assert read_header(coded).view == "MLO"
    assert read_header(make_dicom(ViewPosition="MLO")).view == "MLO"
    assert read_header(make_dicom(ViewPosition=None, PatientOrientation="MLO")).view == "MLO"
    assert read_header(make_dicom(ViewPosition=None, PatientOrientation=["P", "L"])).view is None


def test_the_chest_wall_follows_the_orientation_before_the_laterality(make_dicom: MakeDicom) -> None:
    assert read_header(make_dicom(PatientOrientation=["P", "R"])).chest_wall is Side.RIGHT
    assert read_header(make_dicom(PatientOrientation=["A", "R"])).chest_wall is Side.LEFT
    right = read_header(make_dicom(ImageLaterality="R"))
    assert (right.laterality, right.chest_wall) == (Laterality.RIGHT, Side.RIGHT)


def test_the_spacing_is_the_detectors_in_the_plane_of_the_breast_and_never_the_displays(
    make_dicom: MakeDicom,
) -> None:
    path = make_dicom(
        ImagerPixelSpacing=[0.11, 0.11],
        PixelSpacing=[0.975, 0.975],
        EstimatedRadiographicMagnificationFactor="1.1",
    )
    spacing = read_header(path).spacing
    assert spacing is not None
    assert spacing.row_mm == pytest.approx(0.1)
    only_display = make_dicom(ImagerPixelSpacing=None, PixelSpacing=[0.975, 0.975])
    assert read_header(only_display).spacing is None


@pytest.mark.parametrize("spacing", [[0.0, 0.0], [1e9, 1e9], [0.1, -0.1]])
def test_an_impossible_spacing_counts_as_unknown(make_dicom: MakeDicom, spacing: list[float]) -> None:
    assert read_header(make_dicom(ImagerPixelSpacing=spacing)).spacing is None


def test_a_manufacturers_text_is_reduced_to_a_closed_list(make_dicom: MakeDicom) -> None:
    assert read_header(make_dicom(Manufacturer="GE MEDICAL SYSTEMS")).manufacturer == "ge"
    assert read_header(make_dicom(Manufacturer="Jane Doe's own device")).manufacturer == "other"
    assert read_header(make_dicom(Manufacturer=None)).manufacturer is None


def test_images_of_one_cbis_patient_share_the_patient(make_dicom: MakeDicom) -> None:
    names = ("Mass-Test_P_00173_LEFT_CC", "Mass-Test_P_00173_RIGHT_MLO", "Calc-Training_P_00173_LEFT_MLO_1")
    assert {read_header(make_dicom(PatientID=name)).patient_id for name in names} == {"P_00173"}


def test_without_a_patient_the_study_stands_in_so_that_strangers_are_not_merged(
    make_dicom: MakeDicom,
) -> None:
    header = read_header(make_dicom(PatientID=None, StudyInstanceUID="1.2.3.4"))
    assert header.patient_id == "1.2.3.4"


def test_a_printed_header_shows_no_identifier(make_dicom: MakeDicom) -> None:
    printed = repr(read_header(make_dicom(PatientID="PID-SECRET", SOPInstanceUID="1.2.3.99")))
    assert "SECRET" not in printed
    assert "1.2.3.99" not in printed
