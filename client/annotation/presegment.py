"""Drafts of masks for images that have none: a model draws, a reader corrects, `data masks add` takes them.

A draft is named after its image, by SOP Instance UID or the digest of the picture's file, which is how the
intake finds the image again. Drafts carry the patient's identity or a view of the whole image, and stay in
the hospital.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from client.annotation.dicom_seg import draw_seg
from client.annotation.labelme import draw_labelme, draw_picture
from client.inference.segment import Segmentation
from client.intake.candidates import Progress, Refusal
from client.intake.dicom_file import is_dicom, read_header, read_mammogram
from client.intake.exclusions import STRICT, IntakeRules, Reason, reason_of, reasons_against, refusal
from client.intake.picture import is_picture, read_picture
from client.using import UsableModel, segment
from shared.errors import ExcludedError, IntakeError
from shared.files import write_file

DraftForm = Literal["seg", "labelme"]

DRAFT_MODE = 0o640
INSTANCE_UID = re.compile(r"(?=.{1,64}$)[0-9]+(\.[0-9]+)*")
"""PS3.5 9.1; a header's own text must not choose where a file is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftReport:
    """What became of the images.

    Attributes
    ----------
    masked
        Images that have a mask already.
    already_there
        Images whose draft was there already, possibly corrected by now; it stays as it is.
    refusals
        Images without a draft, by their place in the files that were given.
    num_ignored
        Files that are no images.
    """

    written: int
    masked: int
    already_there: int
    refusals: tuple[Refusal, ...]
    num_ignored: int


def presegment(
    source_files: Sequence[Path],
    model: UsableModel,
    output_folder: Path,
    form: DraftForm,
    progress: Progress,
    *,
    is_masked: Callable[[str], bool],
    rules: IntakeRules = STRICT,
) -> DraftReport:
    """Draw a draft for every mammogram among the files that has no mask; an existing draft stays.

    Parameters
    ----------
    form
        `seg` writes `<key>.dcm`, a DICOM Segmentation; `labelme` writes `<key>.json` and, for LabelMe to
        show, the picture `<key>.png`.
    is_masked
        Whether there is a mask already for the image of a SOP Instance UID or digest.
    rules
        Which images the intake would take; for others a draft would be work for nothing.

    Raises
    ------
    StoreError
        A draft cannot be written; those before it are whole.
    """
    written = with_mask = already_there = num_ignored = 0
    refusals: list[Refusal] = []
    for position, path in enumerate(source_files, start=1):
        found = _look(path, position, form, rules)
        if found is None:
            num_ignored += 1
        elif isinstance(found, Refusal):
            refusals.append(found)
        elif is_masked(found):
            with_mask += 1
        elif _draft_file(output_folder, found, form).exists():
            already_there += 1
        else:
            refused = _draw(path, found, position, model, output_folder, form)
            refusals += [refused] if refused else []
            written += 0 if refused else 1
        progress(position, len(source_files))
    return DraftReport(
        written=written,
        masked=with_mask,
        already_there=already_there,
        refusals=tuple(refusals),
        num_ignored=num_ignored,
    )


def _look(path: Path, position: int, form: DraftForm, rules: IntakeRules) -> str | Refusal | None:
    """Key of an image that the intake would take on its header; None for a file that is no image."""
    try:
        if is_dicom(path):
            return _look_at_dicom(path, position, rules)
        if not is_picture(path):
            return None
        if form == "seg":
            raise ExcludedError(
                "The picture has no DICOM header that a DICOM segmentation could refer to.",
                "Draft for LabelMe instead.",
            )
        return _digest(path)
    except IntakeError as error:
        return _refused(position, error)


def _look_at_dicom(path: Path, position: int, rules: IntakeRules) -> str | Refusal:
    header = read_header(path)
    reasons = reasons_against(header, rules)
    if reasons:
        return Refusal.of(position, reasons[0], header.instance_uid)
    if INSTANCE_UID.fullmatch(header.instance_uid) is None:
        raise refusal(Reason.UNDECODABLE)
    return header.instance_uid


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error


def _draw(
    path: Path, key: str, position: int, model: UsableModel, folder: Path, form: DraftForm
) -> Refusal | None:
    try:
        files = _files(path, key, segment(model, path), form)
    except IntakeError as error:
        return _refused(position, error)
    for name, content in files.items():
        # A picture that is there may be the source itself.
        if not (folder / name).exists():
            write_file(folder / name, content, mode=DRAFT_MODE)
    return None


def _files(path: Path, key: str, segmentation: Segmentation, form: DraftForm) -> dict[str, bytes]:
    """Name and content of each file of a draft; last the one whose presence says that an image is done."""
    labels_HW, model_id = segmentation.source_labels(), segmentation.report.model_id
    draft = _draft_file(Path(), key, form).name
    if form == "seg":
        return {draft: draw_seg(path, labels_HW, model_id)}
    picture = f"{key}.png"
    mammogram = read_mammogram(path) if is_dicom(path) else read_picture(path)
    breast_HW = segmentation.prepared.geometry.to_source(segmentation.prepared.breast_HW)
    return {
        picture: draw_picture(mammogram, breast_HW),
        draft: draw_labelme(labels_HW, picture, model_id),
    }


def _draft_file(folder: Path, key: str, form: DraftForm) -> Path:
    return folder / f"{key}.{'dcm' if form == 'seg' else 'json'}"


def _refused(position: int, error: IntakeError) -> Refusal:
    return Refusal(
        position=position,
        reason=reason_of(error),
        message=error.message,
        remedy=error.hint,
    )
