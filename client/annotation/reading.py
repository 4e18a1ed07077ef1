"""An image on its way to a draft: what a worker process does, so that a damaged one costs itself alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from client.annotation.labelme import draw_picture
from client.inference.reading import ReadImage, prepared_of
from client.intake.candidates import Refusal
from client.intake.dicom_file import is_dicom, read_mammogram
from client.intake.picture import read_picture
from shared.errors import IntakeError


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftTask:
    """An image that is to have a draft. Key and path are left out of its printed form.

    Attributes
    ----------
    position
        By which reports name it.
    key
        SOP Instance UID, or the digest of a picture's file.
    with_picture
        The reader's tool cannot show the image itself.
    """

    position: int
    path: Path = field(repr=False)
    key: str = field(repr=False)
    with_picture: bool


@dataclass(frozen=True, slots=True)
class DraftImage:
    """An image ready for a model, and a PNG of all of it where one was asked for."""

    image: ReadImage
    picture: bytes | None


def read_for_draft(task: DraftTask) -> DraftImage | Refusal:
    """Read and prepare an image whose header has been judged."""
    try:
        mammogram = read_mammogram(task.path) if is_dicom(task.path) else read_picture(task.path)
        image = prepared_of(mammogram)
    except IntakeError as error:
        return Refusal.of_error(task.position, error)
    picture = None
    if task.with_picture:
        breast_HW = image.prepared.geometry.to_source(image.prepared.breast_HW)
        picture = draw_picture(mammogram, breast_HW)
    return DraftImage(image, picture)
