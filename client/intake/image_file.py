"""An image's file, whatever named it: who it is, and reading it together with its mask.

A file without a SOP Instance UID goes by the digest of its bytes, and one that names no patient counts as a
patient of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from client.imaging.mammogram import Laterality, Mammogram, Spacing, View
from client.intake.candidates import Labels
from client.intake.dicom_file import is_dicom, read_mammogram
from client.intake.exclusions import Reason, refusal
from client.intake.header import Header
from client.intake.masks import MaskFile
from client.intake.picture import read_picture
from client.intake.recognition import FileState, open_regular


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of an image from elsewhere than its file."""

    laterality: Laterality | None = None
    view: View | None = None
    spacing: Spacing | None = None


NOTHING_KNOWN = Known()


def source_id_of(path: Path, header: Header | None) -> str:
    """SOP Instance UID, or what stands for one that is missing: the digest of the file, hex.

    Raises
    ------
    IntakeError
        The file cannot be read.
    """
    if header is not None and header.instance_uid:
        return header.instance_uid
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error


def patient_id_of(header: Header | None, source_id: str) -> str:
    """The patient's identifier, or what stands for one that is missing."""
    return (header.patient_id if header is not None else "") or source_id


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its mask, if it has one; read when called, if the image is still as it was."""

    image: Path
    state: FileState
    mask: MaskFile | None
    known: Known = NOTHING_KNOWN

    def __call__(self) -> tuple[Mammogram, Labels | None]:
        self.state.check(self.image)
        try:
            mammogram = self._read()
        finally:
            # What cannot be decoded may be half written; what can may be half of two pictures.
            self.state.check(self.image)
        height, width = mammogram.pixels_HW.shape
        return mammogram, None if self.mask is None else self.mask.read((height, width))

    def _read(self) -> Mammogram:
        known = self.known
        if is_dicom(self.image):
            mammogram = read_mammogram(self.image)
            return replace(
                mammogram,
                laterality=mammogram.laterality or known.laterality,
                view=mammogram.view or known.view,
                spacing=mammogram.spacing or known.spacing,
            )
        # The name of a picture is a weaker word than what is known of it.
        mammogram = read_picture(self.image)
        return replace(
            mammogram,
            laterality=known.laterality or mammogram.laterality,
            view=known.view or mammogram.view,
            spacing=known.spacing,
        )
