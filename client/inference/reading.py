"""An image from its file to the prepared picture that a model is shown; no network is needed for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from client.imaging.mammogram import Laterality, Mammogram, Spacing, View
from client.imaging.preparation import PreparedImage, prepare
from client.intake.candidates import Refusal
from client.intake.dicom_file import is_dicom, read_header, read_mammogram
from client.intake.exclusions import EXPLANATIONS, Reason, reasons_against, refusal
from client.intake.picture import is_picture, read_picture
from shared.errors import EmptySourceError, IntakeError

TOLERATED = frozenset(
    {
        Reason.SECONDARY_CAPTURE,
        Reason.VIEW_UNKNOWN,
        Reason.LATERALITY_UNKNOWN,
        Reason.TOO_SMALL,
        Reason.LOSSY,
    }
)
"""Reasons that keep an image out of training but only earn a warning here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadImage:
    """A prepared image with what its file says of it.

    Attributes
    ----------
    spacing
        Of the file's pixels.
    warnings
        For the person who reads the result.
    """

    prepared: PreparedImage
    spacing: Spacing | None
    view: View | None
    laterality: Laterality | None
    warnings: tuple[str, ...]

    @property
    def prepared_spacing(self) -> Spacing | None:
        """Of the prepared picture's pixels."""
        return None if self.spacing is None else self.prepared.geometry.prepared_spacing(self.spacing)


def read_image(path: Path) -> ReadImage:
    """Read and prepare one DICOM, PNG, TIFF or NIfTI file.

    Raises
    ------
    IntakeError
        The file cannot be read.
    EmptySourceError
        It is a folder.
    NotDicomError
        It is neither DICOM nor a picture.
    UndecodableError
        It is damaged, or has no pixels.
    NotMammogramError
        It shows no breast.
    ExcludedError
        It is of a kind that density is not measured on.
    """
    if path.is_dir():
        raise EmptySourceError("This is a folder, not an image.", "Name one mammogram's file.")
    mammogram, warnings = _read(path)
    return prepared_of(mammogram, warnings)


def prepared_of(mammogram: Mammogram, warnings: tuple[str, ...] = ()) -> ReadImage:
    """A mammogram that has been read, prepared. Raises NotMammogramError."""
    prepared = prepare(mammogram)
    if prepared.contradicts_header:
        warnings = (*warnings, "The chest wall is not where the header says: the image is mirrored.")
    return ReadImage(
        prepared=prepared,
        spacing=mammogram.spacing,
        view=mammogram.view,
        laterality=mammogram.laterality,
        warnings=warnings,
    )


def _read(path: Path) -> tuple[Mammogram, tuple[str, ...]]:
    # A DICOM file's preamble may be a TIFF header (PS3.10 7.1): DICOM is asked first.
    if not is_dicom(path) and is_picture(path):
        return read_picture(path), (
            "The picture has no DICOM header: its grey values may have been altered.",
        )
    reasons = reasons_against(read_header(path))
    for reason in reasons:
        if reason not in TOLERATED:
            raise refusal(reason)
    return read_mammogram(path), tuple(EXPLANATIONS[reason].message for reason in reasons)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file at its position in a source; its path is left out of its printed form."""

    position: int
    path: Path = field(repr=False)


def may_be_image(path: Path) -> bool:
    """Whether a file begins as an image does, or cannot be looked into."""
    try:
        return is_dicom(path) or is_picture(path)
    except IntakeError:
        return True


def read_file(file: ImageFile) -> ReadImage | Refusal:
    """As `read_image`, for a worker process: errors become refusals."""
    try:
        return read_image(file.path)
    except IntakeError as error:
        return Refusal.of_error(file.position, error)
