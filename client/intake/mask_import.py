"""Masks for images in the catalog: matched by keyed hash, brought onto the prepared picture."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from client.catalog import Catalog, MaskOrigin
from client.intake.candidates import Progress, Refusal
from client.intake.exclusions import Reason
from client.intake.masks import MaskFile, check_overlap, open_masks
from client.intake.pseudonyms import Pseudonyms
from shared.errors import EmptySourceError, IntakeError, NotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskReport:
    """What became of the masks of a folder.

    Attributes
    ----------
    unmatched
        Masks whose image is not in the catalog.
    refusals
        Masks that do not fit their image, by their place in the folder's fixed order.
    """

    added: int
    unmatched: int
    refusals: tuple[Refusal, ...]


def add_masks(
    folder: Path, catalog: Catalog, *, annotator: str, drawn_on: date, version: str, progress: Progress
) -> MaskReport:
    """Take the masks of a folder in; a new mask takes the place of an older one, whose line stays.

    Raises
    ------
    EmptySourceError
        The folder holds no mask.
    MaskError
        The masks' table of values is malformed.
    HomeError, StoreError
        See `Catalog`.
    """
    masks = list(open_masks(folder).values())
    if not masks:
        raise EmptySourceError(
            "The folder holds no mask.", "Name the folder with the label maps and their values.toml."
        )
    pseudonyms = Pseudonyms.open(catalog.home)
    added = unmatched = 0
    refusals = []
    with catalog.importing():
        for position, mask in enumerate(masks, start=1):
            known = catalog.find_source(pseudonyms.source(mask.key))
            if known is None:
                unmatched += 1
            else:
                origin = MaskOrigin(
                    kind=mask.kind, annotator=annotator, drawn_on=drawn_on.isoformat(), version=version
                )
                refusal = _add(mask, known.example_id, catalog, origin, position)
                refusals += [refusal] if refusal else []
                added += 0 if refusal else 1
            progress(position, len(masks))
    return MaskReport(added=added, unmatched=unmatched, refusals=tuple(refusals))


def _add(
    mask: MaskFile, example_id: str, catalog: Catalog, origin: MaskOrigin, position: int
) -> Refusal | None:
    try:
        geometry = catalog.geometry(example_id)
        labels_HW = geometry.labels_from_source(mask.read(geometry.source_shape)).copy()
        # Outside the breast a prepared picture is zero; inside, nearly nowhere.
        check_overlap(labels_HW, catalog.load(example_id).image_HW > 0)
    except (IntakeError, NotFoundError) as error:
        return Refusal(position=position, reason=Reason.MASK, message=error.message, remedy=error.hint)
    catalog.set_mask(example_id, labels_HW, origin)
    return None
