"""Recognising a folder: a research archive with an index, or DICOM files with a folder of masks.

DICOM is found by content, anywhere below the folder. Masks lie in `masks/`, named after the image's SOP
Instance UID, with their values declared in `masks/values.toml`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from client.imaging.mammogram import Mammogram
from client.intake.candidates import Candidate, Labels, Progress, Refusal, Source
from client.intake.dicom_file import is_dicom, read_header, read_mammogram
from client.intake.exclusions import IntakeRules, Reason, reasons_against
from client.intake.index_csv import INDEX_FILE, name_at, read_index
from client.intake.masks import MaskFile, open_masks
from shared.errors import EmptySourceError, IntakeError, UndecodableError

MASKS_FOLDER = "masks"
KIND = "DICOM files"


def open_source(folder: Path, rules: IntakeRules, progress: Progress) -> Source:
    """Look through a folder and decide about every image on its header.

    Raises
    ------
    EmptySourceError
        It is no folder, or holds no mammogram at all.
    MaskError
        The masks' table of values is malformed.
    """
    if not folder.is_dir():
        raise EmptySourceError(
            "There is no such folder of mammograms.", "Name a folder, not a file, and check its spelling."
        )
    if (folder / INDEX_FILE).is_file():
        return read_index(folder, progress)
    source = _scan(folder, rules, progress)
    if not source.candidates and not source.refusals:
        raise EmptySourceError(
            "The folder holds no mammogram.",
            "Name a folder with DICOM files, or one with an index.csv of pictures and masks.",
        )
    return source


def locate(folder: Path, position: int) -> str | None:
    """Name, within the folder, of the file at a position of its reports; None if there is none.

    For the person at the terminal alone: a name may name a patient.
    """
    if (folder / INDEX_FILE).is_file():
        return name_at(folder, position)
    files = _files(folder)
    return str(files[position - 1].relative_to(folder)) if 0 < position <= len(files) else None


def _scan(folder: Path, rules: IntakeRules, progress: Progress) -> Source:
    files = _files(folder)
    masks = open_masks(folder / MASKS_FOLDER)
    candidates: list[Candidate] = []
    refusals: list[Refusal] = []
    for position, path in enumerate(files, start=1):
        found = _judge(path, position, masks, rules)
        if isinstance(found, Candidate):
            candidates.append(found)
        elif found is not None:
            refusals.append(found)
        progress(position, len(files))
    num_ignored = len(files) - len(candidates) - len(refusals)
    return Source(kind=KIND, candidates=candidates, refusals=refusals, num_ignored=num_ignored)


def _files(folder: Path) -> list[Path]:
    """All files below the folder but for its masks, in an order that is the same everywhere."""
    found = []
    for parent, folders, names in os.walk(folder):
        if Path(parent) == folder and MASKS_FOLDER in folders:
            folders.remove(MASKS_FOLDER)
        found += [Path(parent) / name for name in names]
    return sorted(path for path in found if path.is_file())


def _judge(
    path: Path, position: int, masks: Mapping[str, MaskFile], rules: IntakeRules
) -> Candidate | Refusal | None:
    """None for a file that is not DICOM."""
    try:
        if not is_dicom(path):
            return None
        header = read_header(path)
    except UndecodableError:
        return Refusal.of(position, Reason.UNDECODABLE)
    except IntakeError:
        return Refusal.of(position, Reason.UNREADABLE)
    reasons = reasons_against(header, rules)
    if reasons:
        return Refusal.of(position, reasons[0], header.instance_uid)
    mask = masks.get(header.instance_uid)
    return Candidate(
        position=position,
        patient_id=header.patient_id,
        source_id=header.instance_uid,
        has_mask=mask is not None,
        year=header.year,
        load=_Pair(path, mask),
    )


@dataclass(frozen=True, slots=True)
class _Pair:
    """A DICOM image and its label map, if it has one; read when called."""

    image: Path
    mask: MaskFile | None

    def __call__(self) -> tuple[Mammogram, Labels | None]:
        mammogram = read_mammogram(self.image)
        height, width = mammogram.pixels_HW.shape
        return mammogram, None if self.mask is None else self.mask.read((height, width))
