"""Recognising a folder: a research archive with an index, or DICOM files with a folder of masks.

DICOM is found by content, anywhere below the folder. Masks lie in `masks/`, named after the image's SOP
Instance UID, with their values declared in `masks/values.toml`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from client.imaging.example import Label
from client.imaging.mammogram import Mammogram
from client.intake.candidates import Candidate, Labels, Progress, Refusal, Source
from client.intake.dicom_file import is_dicom, read_header, read_mammogram
from client.intake.exclusions import Reason, reasons_against
from client.intake.index_csv import INDEX_FILE, VALUES_FILE, read_index
from client.intake.masks import read_label_map, read_values_table
from shared.errors import EmptySourceError, IntakeError, UndecodableError

MASKS_FOLDER = "masks"
KIND = "DICOM files"


def open_source(folder: Path, accepted: frozenset[Reason], progress: Progress) -> Source:
    """Look through a folder and decide about every image on its header, waiving the accepted reasons.

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
    source = _scan(folder, accepted, progress)
    if not source.candidates and not source.refusals:
        raise EmptySourceError(
            "The folder holds no mammogram.",
            "Name a folder with DICOM files, or one with an index.csv of pictures and masks.",
        )
    return source


def _scan(folder: Path, accepted: frozenset[Reason], progress: Progress) -> Source:
    files = _files(folder)
    masks = folder / MASKS_FOLDER
    table = read_values_table(masks / VALUES_FILE) if masks.is_dir() else {}
    candidates: list[Candidate] = []
    refusals: list[Refusal] = []
    for position, path in enumerate(files, start=1):
        found = _judge(path, position, masks, table, accepted)
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
    path: Path, position: int, masks: Path, table: Mapping[int, Label], accepted: frozenset[Reason]
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
    reason = next((reason for reason in reasons_against(header) if reason not in accepted), None)
    # A UID is digits and dots; anything else must not become part of a path.
    uid_is_plain = header.instance_uid.replace(".", "").isdigit() and ".." not in header.instance_uid
    mask = masks / f"{header.instance_uid}.png"
    if reason is None and not (uid_is_plain and mask.is_file()):
        reason = Reason.NO_MASK
    if reason is not None:
        return Refusal.of(position, reason)
    return Candidate(
        position=position,
        patient_id=header.patient_id,
        source_id=header.instance_uid,
        load=_Pair(path, mask, table),
    )


class _Pair:
    """A DICOM image and its label map, read when called."""

    def __init__(self, image: Path, mask: Path, table: Mapping[int, Label]) -> None:
        self._image = image
        self._mask = mask
        self._table = table

    def __call__(self) -> tuple[Mammogram, Labels]:
        mammogram = read_mammogram(self._image)
        height, width = mammogram.pixels_HW.shape
        return mammogram, read_label_map(self._mask, self._table, (height, width))
