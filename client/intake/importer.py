"""The main flow of an import: look through, order by patient, and for each image load, prepare, add.

Every example is committed by itself, so whatever was finished before a failure stays; a second import of the
same folder goes on where the first stopped and adds nothing twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from client.catalog import Catalog, Provenance, new_example_id
from client.imaging.example import Example
from client.imaging.preparation import prepare
from client.intake.candidates import Candidate, Progress, Refusal
from client.intake.exclusions import ACCEPTABLE, Reason
from client.intake.masks import check_overlap
from client.intake.pseudonyms import Pseudonyms
from client.intake.sources import open_source
from client.store.parts import visiting_rank
from shared.errors import IntakeError, MaskError, NotMammogramError, UndecodableError

_REASONS: dict[type[IntakeError], Reason] = {
    MaskError: Reason.MASK,
    NotMammogramError: Reason.NO_BREAST,
    UndecodableError: Reason.UNDECODABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What became of every image of a source.

    Attributes
    ----------
    kind
        What was recognised, in words for a person.
    added
        New examples.
    already_there
        Images that an earlier import, or an earlier copy in the same folder, had brought in.
    refusals
        Images that were not used, by position.
    num_ignored
        Files that are no images.
    """

    kind: str
    added: int
    already_there: int
    refusals: tuple[Refusal, ...]
    num_ignored: int

    @property
    def excluded(self) -> dict[Reason, int]:
        """Numbers by reason of images that are fine but not of use here."""
        return _by_reason(refusal for refusal in self.refusals if not refusal.quarantined)

    @property
    def quarantined(self) -> dict[Reason, int]:
        """Numbers by reason of images that are broken; they stay where they are."""
        return _by_reason(refusal for refusal in self.refusals if refusal.quarantined)


def import_folder(
    folder: Path, catalog: Catalog, progress: Progress, accepted: frozenset[Reason] = frozenset()
) -> ImportReport:
    """Bring a folder of mammograms into the catalog.

    Parameters
    ----------
    folder
        Stays as it is.
    catalog
        Where the examples go.
    progress
        Told of every image done.
    accepted
        Reasons of `ACCEPTABLE` that this site waives.

    Raises
    ------
    EmptySourceError
        The folder holds no mammogram.
    MaskError
        The masks' table of values is malformed.
    HomeError
        Another import is running, or the home's pseudonym key is unreadable.
    StoreError
        The disk or the database refuses; what was added before stays.
    """
    assert accepted <= ACCEPTABLE
    source = open_source(folder, accepted, lambda _done, _total: None)
    refusals = list(source.refusals)
    added = already_there = 0
    with catalog.importing():
        pseudonyms = Pseudonyms.open(catalog.home)
        # By patient first: the split depends on this order, and on nothing else.
        ordered = sorted(source.candidates, key=lambda one: (visiting_rank(one.patient_id), one.source_id))
        for done, candidate in enumerate(ordered, start=1):
            source_key = pseudonyms.source(candidate.source_id)
            if catalog.has(source_key):
                already_there += 1
            else:
                refused = _take(candidate, catalog, pseudonyms.patient(candidate.patient_id), source_key)
                refusals += [refused] if refused else []
                added += 0 if refused else 1
            progress(done, len(ordered))
    return ImportReport(
        kind=source.kind,
        added=added,
        already_there=already_there,
        refusals=tuple(sorted(refusals, key=lambda refusal: refusal.position)),
        num_ignored=source.num_ignored,
    )


def _take(candidate: Candidate, catalog: Catalog, patient: str, source_key: str) -> Refusal | None:
    """Load, prepare and add one image, or say why not."""
    try:
        mammogram, labels_HW = candidate.load()
        prepared = prepare(mammogram)
        prepared_labels_HW = prepared.geometry.labels_from_source(labels_HW)
        check_overlap(prepared_labels_HW, prepared.breast_HW)
    except IntakeError as error:
        return Refusal(
            position=candidate.position,
            reason=_REASONS.get(type(error), Reason.UNREADABLE),
            message=error.message,
            remedy=error.hint,
        )
    example = Example(
        example_id=new_example_id(), image_HW=prepared.image_HW, labels_HW=prepared_labels_HW.copy()
    )
    spacing = mammogram.spacing
    provenance = Provenance(
        patient=patient,
        source=source_key,
        spacing=None if spacing is None else prepared.geometry.prepared_spacing(spacing),
        view=mammogram.view,
        laterality=mammogram.laterality,
        manufacturer=mammogram.manufacturer,
    )
    catalog.add(example, provenance)
    return None


def _by_reason(refusals: Iterable[Refusal]) -> dict[Reason, int]:
    return dict(Counter(refusal.reason for refusal in refusals).most_common())
