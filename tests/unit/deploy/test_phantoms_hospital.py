"""A phantom hospital's folder: valid DICOM, masks that fit, the same bytes for the same seed."""

from __future__ import annotations

import io
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import apply_voi_lut
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from deploy.demo.phantoms import (
    GE,
    HOLOGIC,
    SIEMENS,
    VENDORS,
    Vendor,
    WrittenImage,
    make_phantom,
    write_hospital,
)
from deploy.demo.phantoms.dicom import Exam, to_dicom

MIX = {"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}
REPOSITORY = Path(__file__).resolve().parents[3]
VIEW_CODES = {
    ("SNM3", "R-10242"): "CC",
    ("SNM3", "R-10226"): "MLO",
    ("SCT", "399162004"): "CC",
    ("SCT", "399368009"): "MLO",
}
IMAGE_TYPE_1 = """
    SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality PresentationIntentType
    ImageLaterality ImageType SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit
    PixelRepresentation PixelIntensityRelationship PixelIntensityRelationshipSign RescaleIntercept
    RescaleSlope RescaleType PresentationLUTShape LossyImageCompression BurnedInAnnotation
    ImagerPixelSpacing PatientOrientation PositionerType OrganExposed DetectorType ViewCodeSequence
    AnatomicRegionSequence WindowCenter WindowWidth PatientName PatientID PatientAge Manufacturer
    ManufacturerModelName BodyPartExamined BreastImplantPresent ViewPosition InstanceNumber
"""
IMAGE_TYPE_2 = """
    PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID AccessionNumber
    SeriesNumber AcquisitionContextSequence
"""


EXAM = Exam(
    institution="PHANTOM HOSPITAL",
    patient_name="PHANTOM^ALICE0001",
    patient_id="N00011234",
    birth_date="19700101",
    age_years=51,
    accession_number="ACCN123456789",
    study_date="20210104",
    study_time="101500",
    study_uid="1.2.3.1",
    series_uid="1.2.3.2",
)


@pytest.fixture(scope="module", params=list(VENDORS))
def hospital(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[WrittenImage]:
    """Two women, four views each, of one vendor."""
    folder = tmp_path_factory.mktemp("phantoms") / f"hospital-{request.param}"
    return list(
        write_hospital(
            folder,
            vendor=VENDORS[request.param],
            patients=2,
            seed=5,
            density_mix=MIX,
            spacing_mm=0.6,
            both_breasts=True,
        )
    )


@pytest.mark.parametrize("vendor", list(VENDORS.values()), ids=list(VENDORS))
def test_the_stored_pixels_survive_the_encoding_of_every_vendor(vendor: Vendor) -> None:
    phantom = make_phantom(3, density_category="c", view="MLO", laterality="R", vendor=vendor, spacing_mm=0.6)
    dataset = to_dicom(phantom, EXAM, sop_instance_uid="1.2.3.4", instance_number=1)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    again = pydicom.dcmread(io.BytesIO(file.getvalue()))
    assert again.file_meta.TransferSyntaxUID == vendor.transfer_syntax
    assert np.array_equal(again.pixel_array, phantom.stored_HW)


def test_every_image_is_a_mammogram_for_presentation_with_the_attributes_of_its_kind(
    hospital: list[WrittenImage],
) -> None:
    for image in hospital:
        dataset = pydicom.dcmread(image.image_path)
        assert dataset.SOPClassUID == DigitalMammographyXRayImageStorageForPresentation
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert [
            name for name in IMAGE_TYPE_1.split() if not dataset.get(name) and dataset.get(name) != 0
        ] == []
        assert [name for name in IMAGE_TYPE_2.split() if name not in dataset] == []
        assert dataset.PresentationIntentType == "FOR PRESENTATION"
        assert dataset.BreastImplantPresent == "NO"
        assert [float(value) for value in dataset.ImagerPixelSpacing] == [0.6, 0.6]


def test_view_and_side_agree_in_every_place_that_states_them(hospital: list[WrittenImage]) -> None:
    seen = set()
    for image in hospital:
        dataset = pydicom.dcmread(image.image_path)
        code = dataset.ViewCodeSequence[0]
        assert VIEW_CODES[code.CodingSchemeDesignator, code.CodeValue] == dataset.ViewPosition
        assert dataset.PatientOrientation[0] == {"L": "A", "R": "P"}[dataset.ImageLaterality]
        expected = {("L", "CC"): "R", ("R", "CC"): "L", ("L", "MLO"): "FR", ("R", "MLO"): "FL"}
        assert dataset.PatientOrientation[1] == expected[dataset.ImageLaterality, dataset.ViewPosition]
        labels = np.asarray(Image.open(image.mask_path))
        left_half, right_half = np.array_split(labels > 0, 2, axis=1)
        assert (left_half.sum() > right_half.sum()) == (dataset.ImageLaterality == "L")
        seen.add((dataset.PatientID, dataset.ImageLaterality, dataset.ViewPosition))
    assert len(seen) == 8


def test_displayed_as_the_header_asks_dense_tissue_is_brighter_than_fat_and_air_is_dark(
    hospital: list[WrittenImage],
) -> None:
    for image in hospital:
        dataset = pydicom.dcmread(image.image_path)
        shown = apply_voi_lut(dataset.pixel_array, dataset, prefer_lut=True).astype(np.float64)
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            shown = 4095 - shown
        labels = np.asarray(Image.open(image.mask_path))
        air, fat, dense = (np.median(shown[labels == value]) / 4095 for value in (0, 1, 2))
        assert air < 0.1
        assert air + 0.05 < fat < dense - 0.1
        if dataset.ViewPosition == "MLO":
            assert np.median(shown[labels == 3]) / 4095 > fat


def test_every_mask_is_an_8_bit_label_map_of_its_images_size_with_the_declared_values(
    hospital: list[WrittenImage],
) -> None:
    for image in hospital:
        dataset = pydicom.dcmread(image.image_path)
        mask = Image.open(image.mask_path)
        assert image.mask_path.name == f"{dataset.SOPInstanceUID}.png"
        assert mask.mode == "L"
        assert np.asarray(mask).shape == (dataset.Rows, dataset.Columns)
        assert set(np.unique(np.asarray(mask))) <= {0, 1, 2, 3}
    declared = tomllib.loads((hospital[0].mask_path.parent / "values.toml").read_text())
    assert declared == {"values": {"background": 0, "adipose": 1, "dense": 2, "pectoral": 3}}


def test_the_planted_identifiers_stand_in_the_header(hospital: list[WrittenImage]) -> None:
    for image in hospital:
        dataset = pydicom.dcmread(image.image_path)
        assert image.patient_name.startswith("PHANTOM^")
        assert dataset.PatientName == image.patient_name
        assert dataset.PatientID == image.patient_id
        assert dataset.AccessionNumber == image.accession_number
        private = [element.value for element in dataset if element.tag.is_private]
        assert any(image.patient_name in str(value) for value in private)
    assert len({image.patient_name for image in hospital}) == 2


def test_the_vendors_differ_in_polarity_display_padding_and_transfer_syntax(tmp_path: Path) -> None:
    read = {}
    for vendor in (HOLOGIC, GE, SIEMENS):
        written = write_hospital(
            tmp_path / vendor.name, vendor=vendor, patients=1, seed=1, density_mix={"b": 1.0}, spacing_mm=0.6
        )
        read[vendor.name] = pydicom.dcmread(next(iter(written)).image_path)
    hologic, ge, siemens = read["hologic"], read["ge"], read["siemens"]
    assert (hologic.PhotometricInterpretation, hologic.PresentationLUTShape) == ("MONOCHROME1", "INVERSE")
    assert (siemens.PhotometricInterpretation, siemens.PresentationLUTShape) == ("MONOCHROME2", "IDENTITY")
    assert (hologic.VOILUTFunction, siemens.VOILUTFunction) == ("SIGMOID", "LINEAR")
    assert [table.LUTExplanation for table in ge.VOILUTSequence] == ["NORMAL", "HARDER", "SOFTER"]
    assert "VOILUTSequence" not in hologic and "PixelPaddingValue" not in ge
    border = hologic.pixel_array[:, 0 if hologic.ImageLaterality == "R" else -1]
    assert (border >= hologic.PixelPaddingValue).all() and (border <= hologic.PixelPaddingRangeLimit).all()
    assert hologic.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert ge.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert siemens.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    def write(home: str, seed: int) -> dict[str, bytes]:
        folder = tmp_path / home / "hospital-north"
        for vendor in (HOLOGIC, GE):
            list(
                write_hospital(
                    folder / vendor.name,
                    vendor=vendor,
                    patients=1,
                    seed=seed,
                    density_mix=MIX,
                    spacing_mm=0.6,
                )
            )
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    first = write("first", 3)
    assert len(first) == 2 * (2 + 2 + 1)
    assert first == write("again", 3)
    assert first != write("other", 4)


def test_the_density_mix_is_met_as_nearly_as_whole_women_allow(tmp_path: Path) -> None:
    written = list(
        write_hospital(
            tmp_path,
            vendor=SIEMENS,
            patients=5,
            seed=2,
            density_mix={"a": 0.6, "b": 0.0, "c": 0.2, "d": 0.2},
            spacing_mm=0.8,
        )
    )
    bounds = np.array([12.0, 28.0, 52.0])
    per_woman = {image.patient_id: image.percent_density for image in written}
    categories = Counter("abcd"[int(np.searchsorted(bounds, density))] for density in per_woman.values())
    assert categories == {"a": 3, "c": 1, "d": 1}


def test_the_command_makes_three_hospitals_and_reports_its_rate(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "deploy.demo.phantoms",
            str(tmp_path),
            "--patients",
            "1",
            "--spacing-mm",
            "0.8",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    for name in ("hospital-north", "hospital-lake", "hospital-coast"):
        assert f"{name}: 2 of 2 images" in done.stdout
        assert len(list((tmp_path / name / "images").iterdir())) == 2
        assert len(list((tmp_path / name / "masks").glob("*.png"))) == 2
    assert "a second" in done.stdout
