"""Recognising a source: a research archive with an index, DICOM files in a folder or of a DICOMDIR, a zip.

DICOM is found by content, anywhere below the folder. Masks lie in `masks/` at the top of the folder, and as
DICOM segmentations among the files. Every image is judged on its header, and read later by whoever calls its
candidate's `load`. Zips and tars are sources of their own, for whoever unpacks them; what lies in an archive
within an archive is not looked for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from client.imaging.mammogram import Mammogram
from client.intake.archives import is_archive, unpacked
from client.intake.candidates import Candidate, Labels, Packed, Progress, Refusal, Source
from client.intake.dicom_file import read_header, read_mammogram
from client.intake.exclusions import IntakeRules, Reason, reasons_against, refusal
from client.intake.header import Header
from client.intake.index_csv import INDEX_FILE, name_at, read_index, unlabelled
from client.intake.listing import MASKS_FOLDER, is_folder, list_entries, top_of
from client.intake.masks import MaskFile, open_masks
from client.intake.recognition import FileState, Kind, look_at, open_regular
from shared.errors import EmptySourceError, IntakeError, NotDicomError, UndecodableError

DICOM_FILES = "DICOM files"
DICOMDIR_FILES = "DICOM files of a DICOMDIR"
ARCHIVE = "Archive"


def open_source(path: Path, rules: IntakeRules, progress: Progress) -> Source:
    """Look through a folder, or the files that a DICOMDIR names, and decide about every image on its header.

    A file that is missing, cannot be read or is damaged is a refusal, and the others go on.

    Raises
    ------
    EmptySourceError
        It is no folder, DICOMDIR, zip or tar, or holds no mammogram at all.
    IntakeError, UndecodableError
        The folder of masks or the DICOMDIR that was named cannot be read, or the latter is damaged.
    MaskError
        The masks' table of values, or one of their files for many images, is missing or malformed.
    """
    if _has_index(path):
        return read_index(path, progress, rules)
    if path.is_file() and is_archive(path):
        return Source(kind=ARCHIVE, candidates=(), refusals=(), archives=(Packed(1, path),))
    source = _look_through(path, rules, progress)
    if not (source.candidates or source.refusals or source.archives):
        raise EmptySourceError(
            "The folder holds no mammogram.",
            "Name a folder with DICOM files, or one with an index.csv of pictures and masks.",
        )
    return source


def locate(path: Path, position: int) -> str | None:
    """Name, within the source, of the file at a position of its reports; None if there is none.

    For the person at the terminal alone: a name may name a patient. It holds for as long as the source is as
    it was.

    Raises
    ------
    EmptySourceError, IntakeError, UndecodableError
        As `open_source`.
    """
    if _has_index(path):
        return name_at(path, position)
    entries = list_entries(path)
    return entries[position - 1].name if 0 < position <= len(entries) else None


def locate_packed(path: Path, archive: int, position: int, spool: Path, progress: Progress) -> str | None:
    """As `locate`, for a file in the archive at a position; the archive is unpacked into `spool` for it.

    Raises
    ------
    StoreError
        There is no room to unpack it.
    """
    packed = _archive_at(path, archive)
    if packed is None:
        return None
    with unpacked(packed, spool, progress) as folder:
        return locate(folder, position)


def _archive_at(path: Path, position: int) -> Path | None:
    if path.is_file() and is_archive(path):
        return path if position == 1 else None
    entries = list_entries(path)
    if not 0 < position <= len(entries):
        return None
    file = top_of(path).joinpath(*entries[position - 1].parts)
    return file if _may_be_archive(file) else None


def list_images(path: Path) -> list[Path]:
    """What may be an image in a folder or DICOMDIR, or has no mask yet by the folder's index.

    Raises
    ------
    EmptySourceError, IntakeError, UndecodableError
        As `open_source`.
    """
    if _has_index(path):
        return unlabelled(path)
    return [top_of(path).joinpath(*entry.parts) for entry in list_entries(path) if entry.problem is None]


def _has_index(path: Path) -> bool:
    return is_folder(path) and (path / INDEX_FILE).is_file()


def _look_through(path: Path, rules: IntakeRules, progress: Progress) -> Source:
    folder = top_of(path)
    masks = open_masks(folder / MASKS_FOLDER)
    images: list[_Image] = []
    refusals: list[Refusal] = []
    segmentations: list[Path] = []
    archives: list[Packed] = []
    seen: set[str] = set()
    num_ignored = 0
    entries = list_entries(path)
    for position, entry in enumerate(entries, start=1):
        file = folder.joinpath(*entry.parts)
        found = (
            _judge(file, position, rules) if entry.problem is None else Refusal.of(position, entry.problem)
        )
        if isinstance(found, _Image) and found.source_id in seen:
            found = Refusal.of(position, Reason.DUPLICATE, found.source_id)
        if isinstance(found, _Image):
            seen.add(found.source_id)
            images.append(found)
        elif isinstance(found, Refusal):
            refusals.append(found)
        elif found is Kind.SEGMENTATION:
            segmentations.append(file)
        elif found is Kind.OTHER and _may_be_archive(file):
            archives.append(Packed(position, file))
        else:
            num_ignored += 1
        progress(position, len(entries))
    masks = masks.with_segmentations(segmentations)
    return Source(
        kind=DICOM_FILES if folder == path else DICOMDIR_FILES,
        candidates=[image.candidate(masks.get(image.source_id)) for image in images],
        refusals=refusals,
        archives=archives,
        num_ignored=num_ignored,
    )


def _may_be_archive(path: Path) -> bool:
    try:
        return is_archive(path)
    except IntakeError:
        return False


def _judge(path: Path, position: int, rules: IntakeRules) -> _Image | Refusal | Kind:
    """The kind for a file that is no image."""
    try:
        kind, state = look_at(path)
        if kind is not Kind.DICOM:
            return kind
        header = read_header(path)
        source_id = header.instance_uid or _digest(path)
    except (UndecodableError, NotDicomError):
        return Refusal.of(position, Reason.UNDECODABLE)
    except IntakeError:
        return Refusal.of(position, Reason.UNREADABLE)
    reasons = reasons_against(header, rules)
    if reasons:
        return Refusal.of(position, reasons[0], source_id)
    return _Image(path=path, state=state, position=position, source_id=source_id, header=header)


def _digest(path: Path) -> str:
    """What stands for a SOP Instance UID that is missing."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """A file that passed on its header."""

    path: Path
    state: FileState
    position: int
    source_id: str
    header: Header

    def candidate(self, mask: MaskFile | None) -> Candidate:
        """The image with its mask, if it has one."""
        return Candidate(
            position=self.position,
            # Without any identifier it counts as a patient of its own.
            patient_id=self.header.patient_id or self.source_id,
            source_id=self.source_id,
            has_mask=mask is not None,
            year=self.header.year,
            load=_Pair(self.path, self.state, mask),
        )


@dataclass(frozen=True, slots=True)
class _Pair:
    """A DICOM image and its label map, if it has one; read when called, if the image is still as it was."""

    image: Path
    state: FileState
    mask: MaskFile | None

    def __call__(self) -> tuple[Mammogram, Labels | None]:
        self.state.check(self.image)
        try:
            mammogram = read_mammogram(self.image)
        finally:
            # What cannot be decoded may be half written; what can may be half of two pictures.
            self.state.check(self.image)
        height, width = mammogram.pixels_HW.shape
        return mammogram, None if self.mask is None else self.mask.read((height, width))
