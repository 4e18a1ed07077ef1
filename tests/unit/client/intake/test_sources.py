"""Folders as hospitals have them: what is found, what is refused, and what a folder may not do to us."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import highdicom
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.sr.codedict import codes
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from client.imaging.example import Label, shown
from client.intake.candidates import Source
from client.intake.exclusions import IntakeRules, Reason
from client.intake.recognition import Kind, kind_of, look_at
from client.intake.sources import locate, open_source
from deploy.demo.phantoms import GE, WrittenImage, write_hospital
from shared.errors import EmptySourceError, IntakeError, UndecodableError
from tests.unit.client.intake.conftest import MakeDicom, draw_breast, make_dataset

NOBODY = 65534
RULES = IntakeRules(min_rows_px=1)


def look(path: Path) -> Source:
    return open_source(path, RULES, lambda _done, _total: None)


def reasons(source: Source) -> list[tuple[int, Reason]]:
    return [(refusal.position, refusal.reason) for refusal in source.refusals]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[WrittenImage]]:
    folder = tmp_path_factory.mktemp("source") / "hospital"
    mix = {"b": 1.0}
    return folder, list(
        write_hospital(folder, vendor=GE, patients=1, seed=3, density_mix=mix, spacing_mm=0.5)
    )


def test_images_come_with_their_masks_through_a_process_boundary(
    hospital: tuple[Path, list[WrittenImage]],
) -> None:
    folder, written = hospital
    source = look(folder)
    assert (len(source.candidates), source.refusals, source.num_ignored) == (len(written), [], 0)
    for candidate, image in zip(
        source.candidates, sorted(written, key=lambda one: one.image_path), strict=True
    ):
        assert (candidate.has_mask, candidate.patient_id) == (True, image.patient_id)
        mammogram, labels_HW = pickle.loads(pickle.dumps(candidate.load))()
        assert labels_HW is not None
        assert labels_HW.shape == mammogram.pixels_HW.shape
        assert np.isin(labels_HW, [1, 2]).any()


def test_an_image_without_a_mask_waits_for_it(make_dicom: MakeDicom, tmp_path: Path) -> None:
    make_dicom("one", StudyDate="20190304")
    (candidate,) = look(tmp_path).candidates
    assert (candidate.has_mask, candidate.year, candidate.load()[1]) == (False, 2019, None)


def write_segmentation(image: Path, path: Path) -> None:
    """Breast and dense tissue as a program for reading draws them; this one is free to name its file."""
    source = dcmread(image)
    for keyword in ("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
        setattr(source, keyword, "")
    source.PatientBirthDate = source.PatientSex = ""
    source.SeriesInstanceUID, source.SeriesNumber, source.InstanceNumber = generate_uid(), 1, 1
    breast_HW = draw_breast() > 100
    dense_HW = breast_HW & (draw_breast() > 2000)
    highdicom.seg.Segmentation(
        [source],
        np.stack([breast_HW, dense_HW], axis=-1)[None],
        "BINARY",
        [
            highdicom.seg.SegmentDescription(number, label, codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL")
            for number, label in ((1, "breast"), (2, "dense"))
        ],
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    ).save_as(path)


def test_a_segmentation_among_the_images_is_a_mask_and_no_image(
    make_dicom: MakeDicom, tmp_path: Path
) -> None:
    image = make_dicom("b/image")
    make_dicom("c/another")
    write_segmentation(image, tmp_path / "a")
    source = look(tmp_path)
    assert [(one.position, one.has_mask) for one in source.candidates] == [(2, True), (3, False)]
    assert (source.refusals, source.num_ignored) == ([], 0)
    labels_HW = pickle.loads(pickle.dumps(source.candidates[0].load))()[1]
    assert labels_HW is not None
    assert np.array_equal(shown(labels_HW) > 0, draw_breast() > 100)
    assert np.array_equal(labels_HW == Label.DENSE, draw_breast() > 2000)


def test_a_models_draft_among_the_images_is_told_and_its_image_waits_for_a_reader(
    make_dicom: MakeDicom, tmp_path: Path
) -> None:
    image = make_dicom("b/image")
    write_segmentation(image, tmp_path / "a")
    draft = dcmread(tmp_path / "a")
    for segment in draft.SegmentSequence:
        segment.SegmentAlgorithmType = "AUTOMATIC"
    draft.save_as(tmp_path / "a")
    source = look(tmp_path)
    assert [candidate.has_mask for candidate in source.candidates] == [False]
    assert [(one.place, one.reason) for one in source.refusals] == [("1", Reason.DRAFT)]


def test_a_mask_that_belongs_to_no_image_is_told_with_its_place(
    make_dicom: MakeDicom, tmp_path: Path
) -> None:
    implant = make_dicom("a", BreastImplantPresent="YES")
    uid = dcmread(implant).SOPInstanceUID
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "values.toml").write_text("[values]\nbackground = 0\nadipose = 1\ndense = 2\n")
    for name in (f"{uid}.png", "DOE^JANE.png"):
        (masks / name).touch()
    (masks / "all.json").write_text('{"annotations": 0}')
    write_segmentation(make_dicom("elsewhere/image"), tmp_path / "b")
    shutil.rmtree(tmp_path / "elsewhere")
    source = look(tmp_path)
    told = {one.place: (one.reason, one.message) for one in source.refusals}
    places = {locate(tmp_path, n, in_masks=True): f"masks:{n}" for n in range(1, 5)}
    assert set(told) == {"1", "2", places["masks/DOE^JANE.png"], places["masks/all.json"]}
    assert told["1"][0] is Reason.IMPLANT
    assert told["2"][0] is Reason.NO_IMAGE
    assert told[places["masks/DOE^JANE.png"]][0] is Reason.NO_IMAGE
    assert "malformed" in told[places["masks/all.json"]][1]
    assert "DOE" not in str(source.refusals)
    assert locate(tmp_path, 9, in_masks=True) is None


def test_dicom_is_found_by_content_at_any_depth(make_dicom: MakeDicom, tmp_path: Path) -> None:
    make_dicom("a/b/c/IM0001")
    make_dicom("letter.txt")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "text.dcm").write_text("DICOM " * 100)
    source = look(tmp_path)
    assert [candidate.position for candidate in source.candidates] == [1, 3]
    assert source.num_ignored == 2


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_dicom_without_a_preamble_is_not_passed_over(tmp_path: Path, syntax: UID) -> None:
    dataset = Dataset()
    dataset.update(make_dataset(SpecificCharacterSet="ISO_IR 100", StudyDate="20200101"))
    stored = np.frombuffer(dataset.PixelData, "<u2")
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = stored.astype(">u2").tobytes()
    dcmwrite(
        tmp_path / "image",
        dataset,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
    )
    assert look_at(tmp_path / "image")[0] is Kind.DICOM
    (candidate,) = look(tmp_path).candidates
    assert (candidate.load()[0].pixels_HW.ravel() == stored).all()


def test_dicom_that_begins_with_its_meta_information_is_not_passed_over(make_dicom: MakeDicom) -> None:
    image = make_dicom()
    image.write_bytes(image.read_bytes()[132:])
    assert look_at(image)[0] is Kind.DICOM


@given(st.binary(max_size=300).map(lambda data: b"\x08\x00" + data))
def test_what_only_begins_like_dicom_is_not_taken_for_it(data: bytes) -> None:
    assert kind_of(data) is Kind.OTHER


@pytest.mark.parametrize("kind", [Kind.SEGMENTATION, Kind.DIRECTORY])
def test_a_segmentation_and_a_dicomdir_are_told_without_reading_them(
    make_dicom: MakeDicom, kind: Kind
) -> None:
    image = make_dicom(SOPClassUID=kind.value)
    assert kind_of(image.read_bytes()[:400]) is kind


def test_every_copy_of_an_instance_is_a_candidate_since_the_first_may_be_damaged(
    make_dicom: MakeDicom, tmp_path: Path
) -> None:
    shutil.copy(make_dicom("b"), tmp_path / "a")
    make_dicom("c")
    first, second, other = look(tmp_path).candidates
    assert [first.position, second.position, other.position] == [1, 2, 3]
    assert first.source_id == second.source_id != other.source_id


def test_images_without_identifiers_are_neither_one_image_nor_one_patient(
    make_dicom: MakeDicom, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        image = make_dicom(name, PatientID=None, StudyInstanceUID=None, ImageComments=name)
        dataset = dcmread(image)
        del dataset.SOPInstanceUID
        dataset.save_as(image)
    first, second = look(tmp_path).candidates
    assert len({first.source_id, second.source_id, first.patient_id, second.patient_id}) == 2


def test_an_excluded_image_keeps_its_identity_for_the_record(make_dicom: MakeDicom, tmp_path: Path) -> None:
    image = make_dicom(BreastImplantPresent="YES")
    source = look(tmp_path)
    assert reasons(source) == [(1, Reason.IMPLANT)]
    assert source.refusals[0].source_id == dcmread(image).SOPInstanceUID


def test_progress_is_told_for_every_file(make_dicom: MakeDicom, tmp_path: Path) -> None:
    make_dicom()
    (tmp_path / "other").touch()
    told: list[tuple[int, int]] = []
    open_source(tmp_path, RULES, lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


# -- what lies about in folders


@pytest.mark.timeout(20)
def test_pipes_sockets_and_devices_are_never_opened(make_dicom: MakeDicom, tmp_path: Path) -> None:
    make_dicom("image")
    os.mkfifo(tmp_path / "a pipe")
    os.mkfifo(tmp_path / "DICOMDIR")
    (tmp_path / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        with contextlib.chdir(tmp_path):  # whole, the name may be too long for a socket
            listener.bind("socket")
        source = look(tmp_path)
    assert (len(source.candidates), source.refusals, source.num_ignored) == (1, [], 4)


def test_links_that_lead_in_a_circle_or_nowhere_are_unreadable(make_dicom: MakeDicom, tmp_path: Path) -> None:
    make_dicom("image")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").symlink_to("unplugged drive/IM1")
    source = look(tmp_path)
    assert len(source.candidates) == 1
    assert reasons(source) == [(1, Reason.UNREADABLE), (2, Reason.UNREADABLE), (3, Reason.UNREADABLE)]


@pytest.mark.timeout(20)
def test_linked_folders_are_not_followed_and_linked_files_are(make_dicom: MakeDicom, tmp_path: Path) -> None:
    make_dicom("others/not asked for")
    image = make_dicom("annex/image")
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "circle").symlink_to(folder)
    (folder / "others").symlink_to(tmp_path / "others")
    (folder / "image").symlink_to(image)
    source = look(folder)
    assert len(source.candidates) == 1
    assert source.candidates[0].load()[0].pixels_HW.any()
    assert (source.refusals, source.num_ignored) == ([], 2)


@contextmanager
def unprivileged(folder: Path) -> Iterator[Path]:
    """A copy of a folder, for a user whom permissions hold."""
    if os.geteuid() != 0:
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        copy = shutil.copytree(folder, Path(place) / "source")
        os.seteuid(NOBODY)
        try:
            yield copy
        finally:
            os.seteuid(0)


def test_a_folder_and_a_file_without_permission_are_unreadable_and_the_rest_goes_on(
    make_dicom: MakeDicom, tmp_path: Path
) -> None:
    make_dicom("source/b closed folder/image")
    make_dicom("source/a")
    make_dicom("source/c closed").chmod(0)
    (tmp_path / "source/b closed folder").chmod(0)
    with unprivileged(tmp_path / "source") as folder:
        source = look(folder)
        assert [candidate.position for candidate in source.candidates] == [1]
        assert reasons(source) == [(2, Reason.UNREADABLE), (3, Reason.UNREADABLE)]
        assert locate(folder, 2) == "b closed folder"
    (tmp_path / "source/b closed folder").chmod(0o700)


def test_a_file_that_vanishes_during_the_look_is_unreadable(make_dicom: MakeDicom, tmp_path: Path) -> None:
    make_dicom("a")
    later = make_dicom("b")
    source = open_source(tmp_path, RULES, lambda _done, _total: later.unlink(missing_ok=True))
    assert len(source.candidates) == 1
    assert reasons(source) == [(2, Reason.UNREADABLE)]


def append(image: Path) -> None:
    with image.open("ab") as file:
        file.write(b"\0\0")


def overwrite(image: Path) -> None:
    """Other pixels of the same size."""
    content = image.read_bytes()
    image.write_bytes(content[:-1000] + bytes(1000))
    os.utime(image, ns=(1, 1))


def truncate(image: Path) -> None:
    os.truncate(image, 2000)


def into_a_pipe(image: Path) -> None:
    image.unlink()
    os.mkfifo(image)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("change", [append, overwrite, truncate, into_a_pipe])
def test_a_file_that_changed_since_the_look_is_not_loaded(
    make_dicom: MakeDicom, tmp_path: Path, change
) -> None:
    image = make_dicom()
    (candidate,) = look(tmp_path).candidates
    change(image)
    with pytest.raises(IntakeError, match="changed while it was being read") as caught:
        candidate.load()
    assert not isinstance(caught.value, UndecodableError)


def test_a_file_that_is_gone_since_the_look_is_unreadable(make_dicom: MakeDicom, tmp_path: Path) -> None:
    image = make_dicom()
    (candidate,) = look(tmp_path).candidates
    image.unlink()
    with pytest.raises(IntakeError, match="cannot be read"):
        candidate.load()


# -- finding a file again


def test_a_position_names_its_file(make_dicom: MakeDicom, tmp_path: Path) -> None:
    make_dicom("b/two")
    make_dicom("a/one", BreastImplantPresent="YES")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/values.toml").write_text("[values]\nbackground = 0\nadipose = 1\ndense = 2\n")
    assert reasons(look(tmp_path)) == [(1, Reason.IMPLANT)]
    assert [locate(tmp_path, position) for position in (0, 1, 2, 3)] == [None, "a/one", "b/two", None]


def test_the_order_is_that_of_the_path_and_not_of_the_disk(make_dicom: MakeDicom, tmp_path: Path) -> None:
    names = ["b", "a/z", "a.dcm", "a/b/c", "B"]
    for name in names:
        make_dicom(name)
    assert [locate(tmp_path, position) for position in range(1, 6)] == ["B", "a/b/c", "a/z", "a.dcm", "b"]


def test_a_name_that_no_terminal_can_show_is_made_fit_for_it(make_dicom: MakeDicom, tmp_path: Path) -> None:
    image = make_dicom()
    image.rename(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    name = locate(tmp_path, 1)
    assert name == "M\N{REPLACEMENT CHARACTER}ller"


def test_a_position_in_an_index_names_its_picture(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("image,label\na/one.png,\ntwo.png,\n")
    assert locate(tmp_path, 2) == "two.png"
    assert reasons(look(tmp_path)) == [(1, Reason.UNREADABLE), (2, Reason.UNREADABLE)]


@pytest.mark.parametrize("kind", ["missing", "empty folder", "empty file", "text", "image", "pipe"])
@pytest.mark.timeout(20)
def test_what_is_no_source_is_refused(make_dicom: MakeDicom, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "DOE^JANE"
    if kind == "empty folder":
        path.mkdir()
    elif kind == "image":
        make_dicom("DOE^JANE")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_text("Dear colleague" if kind == "text" else "")
    with pytest.raises(EmptySourceError) as caught:
        look(path)
    assert "DOE" not in caught.value.message + caught.value.hint
