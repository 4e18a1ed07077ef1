"""Recognising a source: a research archive with an index, DICOM files in a folder or of a DICOMDIR, a zip.

DICOM is found by content, anywhere below the folder. Masks lie in `masks/` at the top of the folder, and as
DICOM segmentations among the files. Every image is judged on its header, and read later by whoever calls its
candidate's `load`. Zips and tars are sources of their own, for whoever unpacks them; what lies in an archive
within an archive is not looked for.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path

from client.intake.archives import is_archive, unpacked
from client.intake.candidates import Candidate, Packed, Progress, Refusal, Source
from client.intake.dicom_file import read_header
from client.intake.exclusions import IntakeRules, Reason, reasons_against
from client.intake.header import Header
from client.intake.image_file import Pair, patient_id_of, source_id_of
from client.intake.index_csv import INDEX_FILE, list_rows, name_at, read_index
from client.intake.listing import MASKS_FOLDER, is_folder, list_entries, top_of
from client.intake.masks import MaskFile, open_masks
from client.intake.masks import name_at as mask_at
from client.intake.masks.mask_file import Refused
from client.intake.recognition import FileState, Kind, look_at
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
        The masks' table of values is missing or malformed.
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


def locate(path: Path, position: int, *, in_masks: bool = False) -> str | None:
    """Name, within the source, of the file at a position of its reports; None if there is none.

    Parameters
    ----------
    in_masks
        The position is that of a mask in the source's folder of masks.

    For the person at the terminal alone: a name may name a patient. It holds for as long as the source is as
    it was.

    Raises
    ------
    EmptySourceError, IntakeError, UndecodableError
        As `open_source`.
    """
    if in_masks:
        folder = top_of(path) / MASKS_FOLDER
        name = mask_at(folder, position) if folder.is_dir() else None
        return None if name is None else f"{MASKS_FOLDER}/{name}"
    if _has_index(path):
        return name_at(path, position)
    entries = list_entries(path)
    return entries[position - 1].name if 0 < position <= len(entries) else None


def locate_packed(
    path: Path, archive: int, position: int, spool: Path, progress: Progress, *, in_masks: bool = False
) -> str | None:
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
        return locate(folder, position, in_masks=in_masks)


def _archive_at(path: Path, position: int) -> Path | None:
    if path.is_file() and is_archive(path):
        return path if position == 1 else None
    entries = list_entries(path)
    if not 0 < position <= len(entries):
        return None
    file = top_of(path).joinpath(*entries[position - 1].parts)
    return file if _may_be_archive(file) else None


def list_images(path: Path, *, without_mask: bool = False) -> list[tuple[int, Path]]:
    """What may be an image in a folder or DICOMDIR, or is one by the folder's index; by position.

    Parameters
    ----------
    without_mask
        Of an index, those alone that have no mask by it.

    Raises
    ------
    EmptySourceError, IntakeError, UndecodableError
        As `open_source`.
    """
    if _has_index(path):
        return list_rows(path, without_mask=without_mask)
    return [
        (position, top_of(path).joinpath(*entry.parts))
        for position, entry in enumerate(list_entries(path), start=1)
        if entry.problem is None
    ]


def _has_index(path: Path) -> bool:
    return is_folder(path) and (path / INDEX_FILE).is_file()


def _look_through(path: Path, rules: IntakeRules, progress: Progress) -> Source:
    folder = top_of(path)
    masks = open_masks(folder / MASKS_FOLDER)
    images: list[_Image] = []
    refusals: list[Refusal] = []
    segmentations: dict[int, Path] = {}
    archives: list[Packed] = []
    num_ignored = 0
    entries = list_entries(path)
    for position, entry in enumerate(entries, start=1):
        file = folder.joinpath(*entry.parts)
        found = (
            _judge(file, position, rules) if entry.problem is None else Refusal.of(position, entry.problem)
        )
        if isinstance(found, _Image):
            images.append(found)
        elif isinstance(found, Refusal):
            refusals.append(found)
        elif found is Kind.SEGMENTATION:
            segmentations[position] = file
        elif found is Kind.OTHER and _may_be_archive(file):
            archives.append(Packed(position, file))
        else:
            num_ignored += 1
        progress(position, len(entries))
    masks = masks.with_segmentations(segmentations)
    keys = {*(one.source_id for one in images), *(one.source_id for one in refusals)}
    refusals += [refused for mask in masks.values() if (refused := _refused(mask, keys)) is not None]
    return Source(
        kind=DICOM_FILES if folder == path else DICOMDIR_FILES,
        candidates=[image.candidate(masks.drawn_by_reader(image.source_id)) for image in images],
        refusals=refusals,
        archives=archives,
        num_ignored=num_ignored,
    )


def _refused(mask: MaskFile, keys: Container[str | None]) -> Refusal | None:
    """A mask that no image takes: none has its key, or a model alone has drawn it."""
    if mask.key in keys:
        refused = Refusal.of(mask.position, Reason.DRAFT) if mask.by_model else None
    elif isinstance(mask.draw, Refused):
        refused = Refusal(
            position=mask.position, reason=Reason.MASK, message=mask.draw.message, remedy=mask.draw.hint
        )
    else:
        refused = Refusal.of(mask.position, Reason.NO_IMAGE)
    return None if refused is None else replace(refused, in_masks=not mask.among_images)


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
        source_id = source_id_of(path, header)
    except (UndecodableError, NotDicomError):
        return Refusal.of(position, Reason.UNDECODABLE)
    except IntakeError:
        return Refusal.of(position, Reason.UNREADABLE)
    reasons = reasons_against(header, rules)
    if reasons:
        return Refusal.of(position, reasons[0], source_id)
    return _Image(path=path, state=state, position=position, source_id=source_id, header=header)


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
            patient_id=patient_id_of(self.header, self.source_id),
            source_id=self.source_id,
            has_mask=mask is not None,
            year=self.header.year,
            load=Pair(self.path, self.state, mask),
        )
