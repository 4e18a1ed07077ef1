"""Drafts that a reader's tools open and that come back as the label map the model drew."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageDraw
from pydicom import dcmread
from torch import Tensor, nn

from client.annotation.presegment import DraftForm, DraftReport, presegment
from client.annotation.reading import DraftTask
from client.imaging.example import CLASSES, Label
from client.inference.reading import read_image
from client.inference.segment import LoadedModel
from client.intake.dicom_file import read_mammogram
from client.intake.exclusions import Reason
from client.intake.masks import digest_of, open_masks
from client.using import UsableModel, segment
from deploy.demo.phantoms import HOLOGIC, WrittenImage, write_hospital
from shared.model import build_model
from shared.package import Manifest, VerifiedPackage
from shared.plan import ModelPlan, Plan, RoundsPlan
from shared.reference import Reference

MODEL_ID = "pilot-3"
Labels = npt.NDArray[np.uint8]


class Threshold(nn.Module):
    """A network with the contract of the real one that takes bright tissue for dense."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.5))

    def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
        breast_NCHW = (image_NCHW > 0.01).float()
        corner_HW = torch.zeros(image_NCHW.shape[2:])
        corner_HW[: image_NCHW.shape[2] // 6, : image_NCHW.shape[3] // 6] = 1
        return {
            "breast": torch.cat([1 - breast_NCHW, breast_NCHW, 2 * corner_HW * breast_NCHW], dim=1),
            "dense": image_NCHW - self.level,
        }


def usable(network: nn.Module) -> UsableModel:
    plan = Plan(
        name="pilot",
        rounds=RoundsPlan(count=1),
        model=ModelPlan(size="tiny", input_height_px=256, input_width_px=128),
    )
    manifest = Manifest(
        model_id=MODEL_ID,
        run_id="pilot",
        plan_sha256=plan.sha256,
        coordinator="c",
        created_at="2026-01-01",
        software="mammofed",
        files=[],
    )
    package = VerifiedPackage(
        manifest=manifest, manifest_sha256="0" * 64, plan=plan, weights=b"", supplements={}
    )
    loaded = LoadedModel(network=network, plan=plan.model, model_id=MODEL_ID, reference=Reference())
    return UsableModel(package=package, loaded=loaded)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[WrittenImage]:
    """A CC and an MLO view."""
    folder = tmp_path_factory.mktemp("phantoms")
    return list(
        write_hospital(folder, vendor=HOLOGIC, patients=1, seed=3, density_mix={"c": 1.0}, spacing_mm=0.5)
    )


def unmasked(_key: str) -> bool:
    return False


def forget(_key: str, _digest: str) -> None:
    """Note no draft."""


def draft(files: list[Path], folder: Path, form: DraftForm, **options: object) -> DraftReport:
    seen: list[tuple[int, int]] = []
    report = presegment(
        list(enumerate(files, start=1)),
        usable(Threshold()),
        folder,
        form,
        lambda done, total: seen.append((done, total)),
        **{"is_masked": unmasked, "note_draft": forget} | options,  # type: ignore[arg-type]
    )
    assert seen == [(number, len(files)) for number in range(1, len(files) + 1)]
    return report


def uid_of(phantom: WrittenImage) -> str:
    return str(dcmread(phantom.image_path, stop_before_pixels=True).SOPInstanceUID)


def drawn_by_model(phantom: WrittenImage) -> Labels:
    labels_HW = segment(usable(Threshold()), read_image(phantom.image_path)).source_labels()
    assert set(np.unique(labels_HW)) == set(CLASSES)
    return labels_HW


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_a_dicom_draft_holds_the_label_map_pixel_for_pixel(
    phantoms: list[WrittenImage], tmp_path: Path
) -> None:
    report = draft([phantom.image_path for phantom in phantoms], tmp_path, "seg")
    assert (report.written, report.refusals) == (2, ())
    for phantom in phantoms:
        dataset = dcmread(tmp_path / f"{uid_of(phantom)}.dcm")
        labels_HW = drawn_by_model(phantom)
        breast_HW, dense_HW, pectoral_HW = dataset.pixel_array.astype(bool)
        assert (breast_HW == ((labels_HW == Label.ADIPOSE) | (labels_HW == Label.DENSE))).all()
        assert (dense_HW == (labels_HW == Label.DENSE)).all()
        assert (pectoral_HW == (labels_HW == Label.PECTORAL)).all()


@pytest.mark.parametrize("form", ["seg", "labelme"])
def test_a_draft_that_is_noted_is_the_one_that_the_intake_reads_back(
    phantoms: list[WrittenImage], tmp_path: Path, form: DraftForm
) -> None:
    noted: dict[str, str] = {}
    draft([phantom.image_path for phantom in phantoms], tmp_path, form, note_draft=noted.__setitem__)
    masks = open_masks(tmp_path)
    assert set(masks) == set(noted) == {uid_of(phantom) for phantom in phantoms}
    for phantom in phantoms:
        shape = drawn_by_model(phantom).shape
        assert digest_of(masks[uid_of(phantom)].read(shape)) == noted[uid_of(phantom)]


def test_a_dicom_draft_belongs_to_its_image_and_names_the_model(
    phantoms: list[WrittenImage], tmp_path: Path
) -> None:
    draft([phantoms[0].image_path], tmp_path, "seg")
    source = dcmread(phantoms[0].image_path, stop_before_pixels=True)
    dataset = dcmread(tmp_path / f"{source.SOPInstanceUID}.dcm")
    assert dataset.SOPClassUID.name == "Segmentation Storage"
    for frame, number in zip(dataset.PerFrameFunctionalGroupsSequence, (1, 2, 3), strict=True):
        reference = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID"):
        assert dataset[keyword].value == source[keyword].value
    assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    assert [segment.SegmentLabel for segment in dataset.SegmentSequence] == ["breast", "dense", "pectoral"]
    codes = [segment.SegmentedPropertyTypeCodeSequence[0].CodeValue for segment in dataset.SegmentSequence]
    assert codes == ["76752008", "DENSE", "111045"]
    for segment_item in dataset.SegmentSequence:
        assert segment_item.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = segment_item.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("mammofed", MODEL_ID)


def test_a_labelme_draft_drawn_as_labelme_does_is_the_label_map(
    phantoms: list[WrittenImage], tmp_path: Path
) -> None:
    draft([phantom.image_path for phantom in phantoms], tmp_path, "labelme")
    for phantom in phantoms:
        document = json.loads((tmp_path / f"{uid_of(phantom)}.json").read_text())
        labels_HW = drawn_by_model(phantom)
        assert (document["imageHeight"], document["imageWidth"]) == labels_HW.shape
        canvas = Image.new("L", labels_HW.shape[::-1])
        values = {"breast": Label.ADIPOSE, "dense": Label.DENSE, "pectoral": Label.PECTORAL}
        for shape in document["shapes"]:
            value = int(values[shape["label"]])
            points = [tuple(point) for point in shape["points"]]
            ImageDraw.Draw(canvas).polygon(points, fill=value, outline=value)
        drawn_HW = np.asarray(canvas)
        for label in (Label.ADIPOSE, Label.DENSE, Label.PECTORAL):
            assert dice(drawn_HW == label, labels_HW == label) >= 0.99


def test_the_picture_for_labelme_shows_the_whole_image(phantoms: list[WrittenImage], tmp_path: Path) -> None:
    draft([phantoms[0].image_path], tmp_path, "labelme")
    document = json.loads((tmp_path / f"{uid_of(phantoms[0])}.json").read_text())
    picture = Image.open(tmp_path / document["imagePath"])
    assert (picture.format, picture.mode) == ("PNG", "L")
    shown_HW = np.asarray(picture)
    labels_HW = drawn_by_model(phantoms[0])
    assert shown_HW.shape == labels_HW.shape
    # The marker beside the breast is there, too.
    assert (shown_HW[labels_HW == Label.BACKGROUND] > 200).any()
    assert np.median(shown_HW[labels_HW == Label.DENSE]) > np.median(shown_HW[labels_HW == Label.ADIPOSE])


@pytest.mark.parametrize(("form", "ending"), [("seg", "dcm"), ("labelme", "json")])
def test_a_draft_that_a_reader_has_corrected_is_not_drawn_over(
    phantoms: list[WrittenImage], tmp_path: Path, form: DraftForm, ending: str
) -> None:
    corrected = tmp_path / f"{uid_of(phantoms[0])}.{ending}"
    corrected.write_text("a reader's work")
    report = draft([phantom.image_path for phantom in phantoms], tmp_path, form)
    assert (report.written, report.already_there) == (1, 1)
    assert corrected.read_text() == "a reader's work"


def test_an_image_with_a_mask_gets_no_draft(phantoms: list[WrittenImage], tmp_path: Path) -> None:
    report = draft(
        [phantom.image_path for phantom in phantoms], tmp_path, "seg", is_masked=uid_of(phantoms[0]).__eq__
    )
    assert (report.written, report.masked) == (1, 1)
    assert not (tmp_path / f"{uid_of(phantoms[0])}.dcm").exists()


def test_unusable_files_are_skipped_with_the_reasons_of_the_intake(
    phantoms: list[WrittenImage], tmp_path: Path
) -> None:
    implant = dcmread(phantoms[0].image_path)
    implant.BreastImplantPresent = "YES"
    implant.save_as(tmp_path / "DOE_JANE.dcm")
    (tmp_path / "cut.dcm").write_bytes(phantoms[0].image_path.read_bytes()[:-5000])
    (tmp_path / "letter.txt").write_text("Dear colleague")
    Image.fromarray(np.zeros((300, 200), np.uint8)).save(tmp_path / "black.png")
    names = ("DOE_JANE.dcm", "cut.dcm", "letter.txt", "black.png", "missing.dcm")
    output = tmp_path / "drafts"
    report = draft([tmp_path / name for name in names], output, "labelme")
    assert (report.written, report.num_ignored) == (0, 1)
    assert [(refusal.position, refusal.reason) for refusal in report.refusals] == [
        (1, Reason.IMPLANT),
        (2, Reason.UNDECODABLE),
        (4, Reason.NO_BREAST),
        (5, Reason.UNREADABLE),
    ]
    assert "DOE" not in str(report)
    assert not output.exists()


def test_an_image_that_ends_the_process_which_reads_it_costs_itself_alone(
    phantoms: list[WrittenImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_a_trap(**values: Any) -> DraftTask:
        # A path that is none is an error of ours, which ends the process as a decoder's crash does.
        path = None if values["position"] == 1 else values["path"]
        return DraftTask(**{**values, "path": path})

    monkeypatch.setattr("client.annotation.presegment.DraftTask", with_a_trap)
    report = draft([phantom.image_path for phantom in phantoms], tmp_path, "seg")
    assert (report.written, [one.reason for one in report.refusals]) == (1, [Reason.UNDECODABLE])


def test_two_files_of_one_image_get_one_draft(phantoms: list[WrittenImage], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copy(phantoms[0].image_path, copy)
    report = draft([phantoms[0].image_path, copy], tmp_path / "drafts", "seg")
    assert (report.written, report.already_there) == (1, 1)


def test_an_image_in_which_the_model_sees_no_breast_gets_no_draft(
    phantoms: list[WrittenImage], tmp_path: Path
) -> None:
    class Blind(Threshold):
        def forward(self, image_NCHW: Tensor) -> dict[str, Tensor]:
            nothing_NCHW = torch.zeros_like(image_NCHW)
            breast_NCHW = torch.cat([nothing_NCHW + 1, nothing_NCHW, nothing_NCHW], dim=1)
            return {**super().forward(image_NCHW), "breast": breast_NCHW}

    report = presegment(
        [(1, phantoms[0].image_path)],
        usable(Blind()),
        tmp_path,
        "seg",
        lambda *_: None,
        is_masked=unmasked,
        note_draft=forget,
    )
    assert [refusal.reason for refusal in report.refusals] == [Reason.NO_BREAST]
    assert "model finds no breast" in report.refusals[0].message
    assert list(tmp_path.iterdir()) == []


def test_the_real_network_runs_through(phantoms: list[WrittenImage], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = usable(build_model(ModelPlan(size="tiny")).eval())
    report = presegment(
        [(1, phantoms[0].image_path)],
        model,
        tmp_path,
        "seg",
        lambda *_: None,
        is_masked=unmasked,
        note_draft=forget,
    )
    # Untrained, it may see no breast; it must not fail in any other way.
    assert report.written + len(report.refusals) == 1
    assert all(refusal.reason is Reason.NO_BREAST for refusal in report.refusals)


def test_a_picture_gets_a_labelme_draft_and_stays_as_it_is(
    phantoms: list[WrittenImage], tmp_path: Path
) -> None:
    grey_HW = read_mammogram(phantoms[0].image_path).pixels_HW
    source = tmp_path / "case-1.png"
    Image.fromarray((grey_HW / grey_HW.max() * 255).astype(np.uint8)).save(source)
    before = source.read_bytes()
    assert draft([source], tmp_path, "labelme").written == 1
    (written,) = tmp_path.glob("*.json")
    assert written.stem == hashlib.sha256(before).hexdigest()
    assert source.read_bytes() == before


def test_a_picture_cannot_have_a_dicom_draft_and_the_report_says_what_to_do(
    phantoms: list[WrittenImage], tmp_path: Path
) -> None:
    source = tmp_path / "case-1.png"
    shutil.copy(phantoms[0].mask_path, source)
    (refusal,) = draft([source], tmp_path / "drafts", "seg").refusals
    assert "no DICOM header" in refusal.message
    assert "LabelMe" in refusal.remedy


@pytest.mark.parametrize("uid", ["../../etc/cron.d/job", "1.2/3", "1..2", "", "1" * 65])
def test_an_instance_uid_cannot_choose_a_path_outside_the_folder(
    phantoms: list[WrittenImage], tmp_path: Path, uid: str
) -> None:
    dataset = dcmread(phantoms[0].image_path)
    dataset.SOPInstanceUID = uid
    path = tmp_path / "image.dcm"
    dataset.save_as(path)
    before = sorted(tmp_path.rglob("*"))
    for form in ("seg", "labelme"):
        report = draft([path], tmp_path / "a" / "b" / "drafts", form)  # type: ignore[arg-type]
        assert [refusal.reason for refusal in report.refusals] == [Reason.UNDECODABLE]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_header_without_what_the_standard_lets_be_empty_still_gets_a_draft(
    phantoms: list[WrittenImage], tmp_path: Path
) -> None:
    dataset = dcmread(phantoms[0].image_path)
    for keyword in ("StudyID", "AccessionNumber", "ReferringPhysicianName", "PatientBirthDate", "StudyTime"):
        if keyword in dataset:
            del dataset[keyword]
    dataset.save_as(tmp_path / "image.dcm")
    assert draft([tmp_path / "image.dcm"], tmp_path / "drafts", "seg").written == 1


def test_a_header_that_no_segmentation_can_repeat_is_refused_without_its_content(
    phantoms: list[WrittenImage],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    dataset = dcmread(phantoms[0].image_path)
    del dataset.StudyInstanceUID
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    (tmp_path / "image.dcm").write_bytes(buffer.getvalue())
    (refusal,) = draft([tmp_path / "image.dcm"], tmp_path / "drafts", "seg").refusals
    assert "what a DICOM segmentation must repeat" in refusal.message
    said = caplog.text + "".join(capfd.readouterr())
    assert str(dataset.PatientID) not in said
    assert str(dataset.SOPInstanceUID) not in said
