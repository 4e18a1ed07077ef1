"""Masks for images in the catalog: matched by keyed hash, drawn by workers onto the prepared picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from client.catalog import Catalog, MaskOrigin
from client.holdings import KnownExample
from client.imaging.breast_mask import Mask
from client.imaging.mammogram import View
from client.imaging.preparation import Geometry
from client.intake.candidates import Progress, Refusal
from client.intake.exclusions import Reason
from client.intake.masks import MaskFile, check_overlap, digest_of, open_masks, settle
from client.intake.pseudonyms import Pseudonyms
from client.intake.workers import Workers
from shared.errors import EmptySourceError, IntakeError


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskReport:
    """What became of the masks of a folder, by their places in its listing.

    Attributes
    ----------
    unmatched
        Masks whose image is not in the catalog.
    refusals
        Masks that do not fit their image, or are a model's work alone.
    """

    added: int
    unmatched: tuple[Refusal, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskTask:
    """A mask for a worker, with the picture that it belongs to."""

    mask: MaskFile
    example_id: str
    drafts: frozenset[str]
    geometry: Geometry
    view: View | None
    breast_HW: Mask = field(repr=False)


@dataclass(frozen=True, slots=True)
class DrawnMask:
    """A mask on its prepared picture, and the digest of what was drawn on the source."""

    labels_HW: npt.NDArray[np.uint8]
    sha256: str


def add_masks(
    folder: Path,
    catalog: Catalog,
    origin: MaskOrigin,
    progress: Progress,
    *,
    approved: bool = False,
    workers: int = 0,
) -> MaskReport:
    """Take the masks of a folder in; a new mask takes the place of an older one, whose line stays.

    Parameters
    ----------
    origin
        Who drew them and when; the form is each mask's own.
    approved
        The reader stands by every mask, a model's draft that needed no correction included.
    workers
        Processes that read and draw; 0 for one per core.

    Raises
    ------
    EmptySourceError
        There is no such folder, or it holds no mask.
    MaskError
        The masks' table of values is missing or malformed.
    HomeError, StoreError
        See `Catalog`.
    """
    masks = _masks_in(folder)
    with catalog.importing(), Workers(draw, number=workers) as drawing:
        pseudonyms = catalog.pseudonyms()
        sources = {mask.key: pseudonyms.source(mask.key) for mask in masks}
        known = {mask.key: catalog.find_source(sources[mask.key]) for mask in masks}
        unmatched = tuple(_unmatched(mask) for mask in masks if known[mask.key] is None)
        matched = [(mask, one) for mask in masks if (one := known[mask.key]) is not None]
        progress(len(unmatched), len(masks))
        refusals: list[Refusal] = []
        tasks = _tasks(matched, sources, catalog)
        for done, (task, outcome) in enumerate(drawing.map(tasks), start=len(unmatched) + 1):
            if not isinstance(outcome, DrawnMask):
                refusals.append(outcome if isinstance(outcome, Refusal) else _damaged(task.mask))
            elif not approved and _is_draft(task, outcome, pseudonyms):
                refusals.append(Refusal.of(task.mask.position, Reason.DRAFT))
            else:
                catalog.set_mask(task.example_id, outcome.labels_HW, replace(origin, kind=task.mask.kind))
            progress(done, len(masks))
    added = len(masks) - len(unmatched) - len(refusals)
    return MaskReport(added=added, unmatched=unmatched, refusals=tuple(refusals))


def draw(task: MaskTask) -> DrawnMask | Refusal:
    """Read a mask and bring it onto its picture: what a worker process does."""
    geometry = task.geometry
    try:
        source_HW = task.mask.read(geometry.source_shape)
        check_overlap(source_HW, task.breast_HW, geometry)
    except IntakeError as error:
        return Refusal(
            position=task.mask.position, reason=Reason.MASK, message=error.message, remedy=error.hint
        )
    labels_HW = settle(geometry.labels_from_source(source_HW), task.breast_HW, task.view)
    return DrawnMask(labels_HW, digest_of(source_HW))


def _masks_in(folder: Path) -> list[MaskFile]:
    if not folder.exists():
        raise EmptySourceError("There is no such folder of masks.", "Check its spelling.")
    if not folder.is_dir():
        raise EmptySourceError(
            "This is a file, not a folder of masks.", "Name the folder; unpack an archive of masks first."
        )
    masks = list(open_masks(folder).values())
    if not masks:
        raise EmptySourceError(
            "The folder holds no mask.", "Name the folder with the label maps and their values.toml."
        )
    return masks


def _tasks(
    matched: Iterable[tuple[MaskFile, KnownExample]], sources: dict[str, str], catalog: Catalog
) -> Iterator[MaskTask]:
    for mask, known in matched:
        yield MaskTask(
            mask=mask,
            example_id=known.example_id,
            drafts=catalog.drafts.of(sources[mask.key]),
            geometry=known.geometry,
            view=known.view,
            # Outside the breast a prepared picture is zero; inside, nearly nowhere.
            breast_HW=catalog.load(known.example_id).image_HW > 0,
        )


def _is_draft(task: MaskTask, drawn: DrawnMask, pseudonyms: Pseudonyms) -> bool:
    """Whether a model alone has drawn the mask.

    Viewers keep the mark of an automatic segmentation through a reader's correction, so a draft of ours is
    told by what it shows, and the mark counts where no draft of ours could have been corrected.
    """
    return pseudonyms.content(drawn.sha256) in task.drafts or (task.mask.by_model and not task.drafts)


def _unmatched(mask: MaskFile) -> Refusal:
    return Refusal.of(mask.position, Reason.NO_IMAGE)


def _damaged(mask: MaskFile) -> Refusal:
    return Refusal(
        position=mask.position,
        reason=Reason.MASK,
        message="The mask cannot be drawn; its file is damaged.",
        remedy="Export the mask again.",
    )
