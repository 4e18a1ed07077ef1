"""DICOMDIRs as written by pydicom, and as damaged or hostile media hold them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.fileset import FileSet
from pydicom.uid import DeflatedExplicitVRLittleEndian

from client.intake.candidates import Source
from client.intake.dicomdir import read_dicomdir
from client.intake.exclusions import IntakeRules, Reason
from client.intake.sources import locate, open_source
from shared.errors import EmptySourceError, IntakeError, UndecodableError
from tests.unit.client.intake.conftest import make_dataset


def look(path: Path) -> Source:
    return open_source(path, IntakeRules(min_rows_px=1), lambda _done, _total: None)


def write_cd(folder: Path, num_images: int = 2) -> Path:
    """A CD of one patient; gives its DICOMDIR."""
    file_set = FileSet()
    for number in range(1, num_images + 1):
        file_set.add(
            make_dataset(
                **{"PatientName": None, "StudyDate": "20200102", "StudyTime": "1200", "AccessionNumber": "1"},
                **{"StudyID": "1", "SeriesInstanceUID": "1.2.3", "SeriesNumber": 1, "InstanceNumber": number},
            )
        )
    file_set.write(folder)
    return folder / "DICOMDIR"


def alter(dicomdir: Path, change: Callable[[Dataset], None]) -> None:
    """Change the first image's record."""
    dataset = dcmread(dicomdir)
    change(next(one for one in dataset.DirectoryRecordSequence if one.DirectoryRecordType == "IMAGE"))
    dataset.save_as(dicomdir)


def images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "DICOMDIR")


def test_a_dicomdir_that_is_named_gives_what_it_lists_and_nothing_else(tmp_path: Path) -> None:
    dicomdir = write_cd(tmp_path)
    make_dataset().save_as(tmp_path / "not listed", enforce_file_format=True)
    source = look(dicomdir)
    assert (len(source.candidates), source.refusals, source.num_ignored) == (2, [], 0)
    assert source.kind == "DICOM files of a DICOMDIR"
    assert all(candidate.load()[0].pixels_HW.any() for candidate in source.candidates)


def test_a_folder_with_a_dicomdir_gives_all_its_files(tmp_path: Path) -> None:
    write_cd(tmp_path)
    make_dataset().save_as(tmp_path / "not listed", enforce_file_format=True)
    source = look(tmp_path)
    assert (len(source.candidates), source.refusals, source.num_ignored) == (3, [], 0)


@pytest.mark.parametrize("named", ["dicomdir", "folder", "folder of two"])
def test_a_listed_file_that_is_missing_is_quarantined_and_the_others_come(tmp_path: Path, named: str) -> None:
    dicomdir = write_cd(tmp_path / "cd1")
    second = images(tmp_path)[1]
    second.unlink()
    path = {"dicomdir": dicomdir, "folder": tmp_path / "cd1", "folder of two": tmp_path}[named]
    if named == "folder of two":
        write_cd(tmp_path / "cd2")
    source = look(path)
    assert len(source.candidates) == (3 if named == "folder of two" else 1)
    (refusal,) = source.refusals
    assert (refusal.position, refusal.reason, refusal.quarantined) == (2, Reason.UNREADABLE, True)
    assert locate(path, 2) == str(
        second.relative_to(tmp_path if named == "folder of two" else tmp_path / "cd1")
    )


@pytest.mark.parametrize(
    "file_id",
    [["..", "OUTSIDE"], ["IMAGES", "..", "..", "OUTSIDE"], "../OUTSIDE", "/{}", "..\\OUTSIDE", [".."]],
)
@pytest.mark.parametrize("named", ["dicomdir", "folder"])
def test_attack_dicomdir_pointing_outside_of_its_folder_reads_nothing_there(
    tmp_path: Path, file_id: str | list[str], named: str
) -> None:
    dicomdir = write_cd(tmp_path / "cd")
    outside = tmp_path / "OUTSIDE"
    make_dataset().save_as(outside, enforce_file_format=True)
    file_id = file_id.format(outside) if isinstance(file_id, str) else file_id
    alter(dicomdir, lambda record: setattr(record, "ReferencedFileID", file_id))
    source = look(dicomdir if named == "dicomdir" else dicomdir.parent)
    # In a folder the file is found without its record.
    assert len(source.candidates) == (1 if named == "dicomdir" else 2)
    assert [refusal.reason for refusal in source.refusals] == [Reason.UNREADABLE]


def test_files_whose_names_were_copied_to_lower_case_are_found(tmp_path: Path) -> None:
    write_cd(tmp_path / "cd")
    lower = tmp_path / "lower"
    for path in images(tmp_path / "cd"):
        target = lower / str(path.relative_to(tmp_path / "cd")).lower()
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    shutil.copy(tmp_path / "cd/DICOMDIR", lower / "dicomdir")
    assert len(look(lower / "dicomdir").candidates) == 2
    assert (len(look(lower).candidates), look(lower).refusals) == (2, [])


def test_a_record_that_is_not_in_use_names_no_file(tmp_path: Path) -> None:
    dicomdir = write_cd(tmp_path)
    alter(dicomdir, lambda record: setattr(record, "RecordInUseFlag", 0))
    assert len(look(dicomdir).candidates) == 1


def test_a_file_that_is_listed_twice_is_one(tmp_path: Path) -> None:
    dicomdir = write_cd(tmp_path)
    listed = [one.parts for one in read_dicomdir(dicomdir)]
    alter(dicomdir, lambda record: setattr(record, "ReferencedFileID", list(listed[1])))
    assert [one.parts for one in read_dicomdir(dicomdir)] == [listed[1]]


def cut_off(dicomdir: Path) -> None:
    dicomdir.write_bytes(dicomdir.read_bytes()[:-200])


def cut_off_one_of_undefined_length(dicomdir: Path) -> None:
    dataset = dcmread(dicomdir)
    dataset["DirectoryRecordSequence"].is_undefined_length = True
    dataset.save_as(dicomdir)
    cut_off(dicomdir)


def deflate(dicomdir: Path) -> None:
    dataset = dcmread(dicomdir)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(dicomdir)


def take_out_the_records(dicomdir: Path) -> None:
    dataset = dcmread(dicomdir)
    del dataset.DirectoryRecordSequence
    dataset.save_as(dicomdir)


@pytest.mark.parametrize("damage", [cut_off, cut_off_one_of_undefined_length, deflate, take_out_the_records])
def test_a_damaged_dicomdir_stops_nothing_but_itself(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    dicomdir = write_cd(tmp_path)
    damage(dicomdir)
    with pytest.raises(UndecodableError, match="DICOMDIR is damaged"):
        look(dicomdir)
    source = look(tmp_path)
    assert len(source.candidates) == 2
    assert [(refusal.position, refusal.reason) for refusal in source.refusals] == [(1, Reason.UNDECODABLE)]
    assert locate(tmp_path, 1) == "DICOMDIR"


@pytest.fixture(scope="module")
def cd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cd(tmp_path_factory.mktemp("cd"))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_bytes_flipped_anywhere_give_an_error_of_ours_or_files_of_the_folder(
    cd: Path, data: st.DataObject
) -> None:
    content = bytearray(cd.read_bytes())
    for _ in range(3):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = cd.with_name("DAMAGED")
    damaged.write_bytes(content)
    try:
        listed = read_dicomdir(damaged)
    except IntakeError:
        return
    top = cd.parent.resolve()
    assert all((top / Path(*one.parts)).resolve().is_relative_to(top) for one in listed if one.found)


def test_an_image_by_the_name_of_a_dicomdir_is_an_image(tmp_path: Path) -> None:
    make_dataset().save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    assert len(look(tmp_path).candidates) == 1
    with pytest.raises(EmptySourceError):
        look(tmp_path / "DICOMDIR")
