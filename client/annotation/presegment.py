"""Drafts of masks for images that have none: a model draws, a reader corrects, `data masks add` takes them.

A draft is named after its image, by SOP Instance UID or the digest of the picture's file, which is how the
intake finds the image again. Drafts carry the patient's identity or a view of the whole image, and stay in
the hospital.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from client.annotation.dicom_seg import draw_seg
from client.annotation.labelme import draw_labelme
from client.annotation.reading import DraftImage, DraftTask, read_for_draft
from client.intake.candidates import Progress, Refusal
from client.intake.dicom_file import is_dicom, read_header
from client.intake.exclusions import STRICT, IntakeRules, Reason, reasons_against, refusal
from client.intake.image_file import source_id_of
from client.intake.masks import digest_of
from client.intake.masks.labelme import draw_outlines
from client.intake.masks.layers import paint
from client.intake.picture import is_picture
from client.intake.workers import Failure, Workers
from client.using import UsableModel, segment
from shared.errors import ExcludedError, IntakeError, MaskError
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
        Images without a draft, by their position.
    num_ignored
        Files that are no images.
    """

    written: int
    masked: int
    already_there: int
    refusals: tuple[Refusal, ...]
    num_ignored: int


def presegment(
    images: Sequence[tuple[int, Path]],
    model: UsableModel,
    output_folder: Path,
    form: DraftForm,
    progress: Progress,
    *,
    is_masked: Callable[[str], bool],
    note_draft: Callable[[str, str], None],
    rules: IntakeRules = STRICT,
    workers: int = 0,
) -> DraftReport:
    """Draw a draft for every mammogram among the files that has no mask; an existing draft stays.

    Parameters
    ----------
    images
        Files with the positions under which reports name them.
    form
        `seg` writes `<key>.dcm`, a DICOM Segmentation; `labelme` writes `<key>.json` and, for LabelMe to
        show, the picture `<key>.png`.
    is_masked
        Whether there is a mask already for the image of a SOP Instance UID or digest.
    note_draft
        Told of the key of an image and the `digest_of` the label map that its draft will be read back as,
        before the draft is written.
    rules
        Which images the intake would take; for others a draft would be work for nothing.
    workers
        Processes that read and prepare; 0 for one per core.

    Raises
    ------
    ConfigError
        No process can be started here.
    StoreError
        A draft cannot be written; those before it are whole.
    """
    with_mask = already_there = num_ignored = 0
    refusals: list[Refusal] = []
    tasks: list[DraftTask] = []
    for position, path in images:
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
            tasks.append(DraftTask(position=position, path=path, key=found, with_picture=form == "labelme"))
            continue
        progress(with_mask + already_there + num_ignored + len(refusals), len(images))
    settled, written = len(images) - len(tasks), 0
    with Workers(read_for_draft, number=workers) as reading:
        for done, (task, read) in enumerate(reading.map(tasks), start=settled + 1):
            draft = _draw(task, read, model, form)
            if isinstance(draft, Refusal):
                refusals.append(draft)
            elif _draft_file(output_folder, task.key, form).exists():  # of another file of the image
                already_there += 1
            else:
                if draft.digest is not None:
                    note_draft(task.key, draft.digest)
                _write(draft, output_folder)
                written += 1
            progress(done, len(images))
    return DraftReport(
        written=written,
        masked=with_mask,
        already_there=already_there,
        refusals=tuple(sorted(refusals, key=lambda one: one.position)),
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
        return source_id_of(path, None)
    except IntakeError as error:
        return Refusal.of_error(position, error)


def _look_at_dicom(path: Path, position: int, rules: IntakeRules) -> str | Refusal:
    header = read_header(path)
    reasons = reasons_against(header, rules)
    if reasons:
        return Refusal.of(position, reasons[0], header.instance_uid)
    if INSTANCE_UID.fullmatch(header.instance_uid) is None:
        raise refusal(Reason.UNDECODABLE)
    return header.instance_uid


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A draft that is not written yet.

    Attributes
    ----------
    files
        Name and content; last the one whose presence says that an image is done.
    digest
        Of the label map that the intake reads it back as; None for one that it would refuse.
    """

    files: Mapping[str, bytes]
    digest: str | None


def _draw(
    task: DraftTask, read: DraftImage | Refusal | Failure, model: UsableModel, form: DraftForm
) -> _Draft | Refusal:
    if isinstance(read, Refusal):
        return read
    if isinstance(read, Failure):
        return Refusal.of(task.position, Reason.UNDECODABLE)
    try:
        segmentation = segment(model, read.image)
        labels_HW, model_id = segmentation.source_labels(), segmentation.report.model_id
        name = _draft_file(Path(), task.key, form).name
        if read.picture is None:
            content = draw_seg(task.path, labels_HW, model_id)
            return _Draft(files={name: content}, digest=digest_of(labels_HW))
    except IntakeError as error:
        return Refusal.of_error(task.position, error)
    picture = f"{task.key}.png"
    outlines = draw_labelme(labels_HW, picture, model_id)
    try:
        shape = segmentation.prepared.geometry.source_shape
        digest = digest_of(paint(draw_outlines(outlines, shape), shape))
    except MaskError:
        digest = None
    return _Draft(files={picture: read.picture, name: outlines}, digest=digest)


def _write(draft: _Draft, folder: Path) -> None:
    for name, content in draft.files.items():
        # A picture that is there may be the source itself.
        if not (folder / name).exists():
            write_file(folder / name, content, mode=DRAFT_MODE)


def _draft_file(folder: Path, key: str, form: DraftForm) -> Path:
    return folder / f"{key}.{'dcm' if form == 'seg' else 'json'}"
