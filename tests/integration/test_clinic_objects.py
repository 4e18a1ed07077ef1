"""DICOM objects of segmented exams: valid by the toolkits that hospitals use, and equal when read back."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from highdicom.seg import segread
from highdicom.sr import (
    MeasurementReport,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    srread,
)
from pydicom import Dataset, dcmread
from pydicom.uid import (
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    generate_uid,
)

from bench.published_model import PLAN_TOML, join, publish
from client import cli
from client.home import SiteHome
from deploy.demo.phantoms import HOLOGIC, write_hospital
from shared.band_calibration import BandCalibration
from shared.errors import StoreError
from shared.trust.keys import SigningKey

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed"
)
needs_dsrdump = pytest.mark.skipif(
    shutil.which("dsrdump") is None, reason="dsrdump (Debian's dcmtk) is not installed"
)
OURS = "99MAMMOFED"
CALIBRATION = BandCalibration(num_sites=3, num_images=420, kappa=0.81, bias=0.02, slope=0.97)


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> SiteHome:
    return join(tmp_path_factory.mktemp("site") / "home", key)


def run_segment(source: Path, model: Path, home: SiteHome, objects: Path) -> int:
    arguments = ["segment", str(source), "--model", str(model), "--home", str(home.folder)]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.argv", ["mammofed-site", *arguments, "--dicom", str(objects), "--json"])
        cli.main()
    return ended.value.code or 0


@pytest.fixture(scope="module")
def exam(
    tmp_path_factory: pytest.TempPathFactory, key: SigningKey, home: SiteHome
) -> tuple[Path, list[Path]]:
    """Objects of one exam: two views of one breast, an implant and a spot view; and its images."""
    folder = tmp_path_factory.mktemp("exam")
    written = write_hospital(folder / "hospital", vendor=HOLOGIC, patients=1, seed=3, density_mix={"c": 1.0})
    images = sorted(one.image_path for one in written)
    for name in ("implant", "spot"):
        altered = dcmread(images[0])
        altered.SOPInstanceUID = altered.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        altered.InstanceNumber = 9
        if name == "spot":
            altered.ViewCodeSequence[0].ViewModifierCodeSequence = [spot_compression()]
        else:
            altered.BreastImplantPresent = "YES"
        altered.save_as(images[0].with_name(f"z-{name}.dcm"))
        images.append(images[0].with_name(f"z-{name}.dcm"))
    (folder / "images").mkdir()
    for number, image in enumerate(images):
        shutil.copy(image, folder / "images" / f"{number}.dcm")
    assert run_segment(folder / "images", publish(folder / "model", key), home, folder / "objects") == 0
    return folder / "objects", images


def spot_compression() -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399055006", "SCT", "Spot compression"
    return code


def of_class(objects: Path, sop_class: str) -> list[Path]:
    return [path for path in sorted(objects.iterdir()) if dcmread(path).SOPClassUID == sop_class]


def report_of(objects: Path) -> MeasurementReport:
    (path,) = of_class(objects, ComprehensiveSRStorage)
    return srread(path).content


def test_an_exam_gets_segments_overlays_and_one_report_in_its_own_study(
    exam: tuple[Path, list[Path]],
) -> None:
    objects, images = exam
    source = dcmread(images[0], stop_before_pixels=True)

    assert len(of_class(objects, SegmentationStorage)) == 2
    assert len(of_class(objects, SecondaryCaptureImageStorage)) == 2
    assert len(of_class(objects, ComprehensiveSRStorage)) == 1
    for path in objects.iterdir():
        made = dcmread(path)
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientBirthDate", "StudyDate"):
            assert made[keyword].value == source[keyword].value
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
        assert "not for diagnosis" in made.SeriesDescription


@needs_dciodvfy
def test_every_object_is_valid_by_dciodvfy(exam: tuple[Path, list[Path]]) -> None:
    for path in exam[0].iterdir():
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        said = (done.stdout + done.stderr).splitlines()
        # A private scheme of codes is what the standard has for what it has no code for.
        assert [line for line in said[1:] if f"<{OURS}>" not in line] == [], path.name


@needs_dsrdump
def test_the_report_is_shown_by_dsrdump_without_a_warning(exam: tuple[Path, list[Path]]) -> None:
    (path,) = of_class(exam[0], ComprehensiveSRStorage)

    done = subprocess.run(["dsrdump", str(path)], capture_output=True, text=True, check=True)

    assert done.stderr == ""
    assert '"Percent Fibroglandular Tissue")=' in done.stdout
    assert '"Research use, not for diagnosis")' in done.stdout
    assert "UNVERIFIED" in done.stdout


def referenced_segmentation(group: PlanarROIMeasurementsAndQualitativeEvaluations) -> str:
    """SOP Instance UID of the segmentation that a group measures."""
    for item in group[0].ContentSequence:
        if item.ConceptNameCodeSequence[0].CodeValue == "121214":
            return str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
    raise AssertionError("no segmentation is referred to")


def test_numbers_of_the_report_are_those_of_the_segments(exam: tuple[Path, list[Path]]) -> None:
    objects, images = exam
    row_mm, column_mm = (float(each) for each in dcmread(images[0]).ImagerPixelSpacing)
    expected = {}
    for path in of_class(objects, SegmentationStorage):
        segmentation = segread(path)
        breast_HW, dense_HW, pectoral_HW = segmentation.pixel_array.astype(bool)
        assert [one.segment_label for one in segmentation.SegmentSequence] == ["breast", "dense", "pectoral"]
        assert not (dense_HW & ~breast_HW).any()
        assert not (pectoral_HW & breast_HW).any()
        expected[segmentation.SOPInstanceUID] = (breast_HW.sum(), dense_HW.sum())

    groups = report_of(objects).get_planar_roi_measurement_groups()

    assert {referenced_segmentation(group) for group in groups} == expected.keys()
    for group in groups:
        breast_px, dense_px = expected[referenced_segmentation(group)]
        percent, breast_mm2, dense_mm2, _ = (one.value for one in group.get_measurements())
        # The segments lie on the file's pixels, the numbers are of the prepared picture's, five times larger.
        assert percent == pytest.approx(100 * dense_px / breast_px, abs=0.2)
        assert breast_mm2 == pytest.approx(breast_px * row_mm * column_mm, rel=0.02)
        assert dense_mm2 == pytest.approx(dense_px * row_mm * column_mm, rel=0.05, abs=2)


def test_what_was_not_measured_has_its_reason_and_no_number(exam: tuple[Path, list[Path]]) -> None:
    outcomes = {}
    for group in report_of(exam[0]).get_image_measurement_groups():
        for evaluation in group.get_qualitative_evaluations():
            if evaluation.name.value == "OUTCOME":
                outcomes[evaluation.value.value] = group.get_measurements()

    assert outcomes == {"implant": [], "spot": []}


def test_nothing_of_an_uncalibrated_model_says_a_category(exam: tuple[Path, list[Path]]) -> None:
    for path in exam[0].iterdir():
        assert b"129715009" not in path.read_bytes()


def test_a_calibrated_model_says_the_category_with_its_probability(
    tmp_path: Path, key: SigningKey, home: SiteHome, exam: tuple[Path, list[Path]]
) -> None:
    head = PLAN_TOML.model_copy(
        update={"model": PLAN_TOML.model.model_copy(update={"density_band": "readers"})}
    )
    model = publish(tmp_path / "model", key, plan=head, calibration=CALIBRATION)

    assert run_segment(exam[1][0], model, home, tmp_path / "objects") == 0

    (woman,) = (
        group
        for group in report_of(tmp_path / "objects").get_image_measurement_groups()
        if group.tracking_identifier == "Both breasts, the denser one"
    )
    (category,) = (one.value for one in woman.get_qualitative_evaluations() if one.name.value == "129715009")
    assert category.value in {"129716005", "129717001", "129718006", "129719003"}
    (probability,) = (one.value for one in woman.get_measurements() if one.name.value == "PROBABILITY")
    assert 0.25 <= probability <= 1


def test_the_same_exam_measured_again_makes_the_same_objects(
    tmp_path: Path, key: SigningKey, home: SiteHome, exam: tuple[Path, list[Path]]
) -> None:
    model = publish(tmp_path / "model", key)
    uids = []
    for attempt in ("first", "second"):
        assert run_segment(exam[1][0], model, home, tmp_path / attempt) == 0
        uids.append({dcmread(path).SOPInstanceUID for path in (tmp_path / attempt).iterdir()})

    assert uids[0] == uids[1]
    assert len(uids[0]) == 3


def test_an_image_without_a_spacing_gets_percent_density_and_no_area(
    tmp_path: Path, key: SigningKey, home: SiteHome, exam: tuple[Path, list[Path]]
) -> None:
    image = dcmread(exam[1][0])
    del image.ImagerPixelSpacing
    for keyword in ("PixelSpacing", "EstimatedRadiographicMagnificationFactor"):
        if keyword in image:
            del image[keyword]
    image.save_as(tmp_path / "image.dcm")

    assert run_segment(tmp_path / "image.dcm", publish(tmp_path / "model", key), home, tmp_path / "out") == 0

    (group,) = report_of(tmp_path / "out").get_planar_roi_measurement_groups()
    assert [one.name.value for one in group.get_measurements()] == ["111046", "UNCERTAINTY"]


def test_a_folder_that_holds_something_is_left_as_it_is(
    tmp_path: Path, key: SigningKey, home: SiteHome, exam: tuple[Path, list[Path]]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept").write_text("kept")

    code = run_segment(exam[1][0], publish(tmp_path / "model", key), home, tmp_path / "out")

    assert code == StoreError.exit_code
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kept"]


def test_exams_are_told_in_json_breast_by_breast(
    tmp_path: Path, key: SigningKey, home: SiteHome, exam: tuple[Path, list[Path]], capfd
) -> None:
    (tmp_path / "images").mkdir()
    for image in exam[1]:
        shutil.copy(image, tmp_path / "images")
    capfd.readouterr()

    assert run_segment(tmp_path / "images", publish(tmp_path / "model", key), home, tmp_path / "out") == 0

    told = json.loads(capfd.readouterr().out)
    (one,) = told["exams"]
    (breast,) = one["breasts"]
    numbers = [image["percent_density"] for image in told["images"]]
    assert breast["views"] == ["CC", "MLO"]
    assert breast["percent_density"] == pytest.approx(np.mean(numbers), abs=0.02)
    assert one["denser"] == breast["laterality"]
    assert {refused["reason"] for refused in told["not_used"]} == {"implant", "spot"}


def test_a_suggestion_is_a_section_of_its_own_where_the_site_wants_one_and_the_category_is_calibrated(
    tmp_path: Path, key: SigningKey, exam: tuple[Path, list[Path]], capfd
) -> None:
    head = PLAN_TOML.model_copy(
        update={"model": PLAN_TOML.model.model_copy(update={"density_band": "readers"})}
    )
    calibrated = publish(tmp_path / "calibrated", key, plan=head, calibration=CALIBRATION)
    plain = publish(tmp_path / "plain", key)
    home = join(tmp_path / "home", key)
    (tmp_path / "images").mkdir()
    shutil.copy(exam[1][0], tmp_path / "images")
    told = {}
    for name, model, settings in (
        ("off", calibrated, ""),
        ("uncalibrated", plain, "[follow_up]\nultrasound = true\n"),
        ("on", calibrated, "[follow_up]\nultrasound = true\n"),
    ):
        home.settings_file.write_text(settings)
        capfd.readouterr()
        assert run_segment(tmp_path / "images", model, home, tmp_path / name) == 0
        told[name] = json.loads(capfd.readouterr().out)["exams"][0]

    assert "follow_up" not in told["off"]
    assert "follow_up" not in told["uncalibrated"]
    assert told["on"]["follow_up"]["reason"]
    (report,) = of_class(tmp_path / "on", ComprehensiveSRStorage)
    content = report.read_bytes()
    assert told["on"]["follow_up"]["evidence"].encode()[:60] in content
    assert b"a radiologist decides" in content
    for name in ("off", "uncalibrated"):
        (other,) = of_class(tmp_path / name, ComprehensiveSRStorage)
        assert b"a radiologist decides" not in other.read_bytes()
    for program in filter(shutil.which, ("dsrdump", "dciodvfy")):
        done = subprocess.run([program, str(report)], capture_output=True, text=True, check=False)
        assert [line for line in done.stderr.splitlines()[1:] if f"<{OURS}>" not in line] == []
