"""The main flow of an import: look through, order by patient, load and prepare in workers, add one by one.

Every example is committed by itself, so whatever was finished before a failure stays; a second import of the
same folder goes on where the first stopped and adds nothing twice. Only this process writes: the workers read
files and answer with pictures. Archives are unpacked one after the other into the home folder, and what was
unpacked is deleted as soon as it is imported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from client.catalog import Catalog, MaskOrigin, Provenance, new_example_id
from client.imaging.example import Example
from client.intake.archives import remove_leftovers, unpacked
from client.intake.candidates import Candidate, Packed, Progress, Refusal, Source
from client.intake.exclusions import STRICT, IntakeRules, Reason, reason_of
from client.intake.loading import Loaded, load
from client.intake.pseudonyms import Pseudonyms
from client.intake.sources import ARCHIVE, open_source
from client.intake.workers import Failure, Workers
from client.store.parts import visiting_rank
from shared.errors import EmptySourceError, IntakeError

IMPORTED_MASK = MaskOrigin(kind="import")
SPOOL_FOLDER = Path("incoming", "unpacked")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What became of every image of a source.

    Attributes
    ----------
    kind
        What was recognised, in words for a person.
    added
        New examples.
    masks_added
        Examples of an earlier import that have got a mask by this one.
    already_there
        Images that an earlier import had brought in.
    refusals
        Images and archives that were not used, by position.
    num_ignored
        Files that are no images.
    """

    kind: str
    added: int = 0
    masks_added: int = 0
    already_there: int = 0
    refusals: tuple[Refusal, ...] = ()
    num_ignored: int = 0

    @property
    def excluded(self) -> dict[Reason, int]:
        """Numbers by reason of images that are fine but not of use here."""
        return _by_reason(refusal for refusal in self.refusals if not refusal.quarantined)

    @property
    def quarantined(self) -> dict[Reason, int]:
        """Numbers by reason of images that are broken; they stay where they are."""
        return _by_reason(refusal for refusal in self.refusals if refusal.quarantined)


def spool_of(home: Path) -> Path:
    """Where archives are unpacked, one at a time."""
    return home / SPOOL_FOLDER


def _nobody(_done: int, _total: int) -> None:
    """Listen to no progress."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Who is told of every file looked through, of the megabytes unpacked, and of every image done."""

    scanning: Progress = _nobody
    unpacking: Progress = _nobody
    preparing: Progress = _nobody


SILENT = Stages()


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    """Brings sources into a catalog.

    Attributes
    ----------
    rules
        What this site takes.
    workers
        Processes that load and prepare; 0 for one per core.
    """

    catalog: Catalog
    rules: IntakeRules = STRICT
    workers: int = 0

    def bring_in(self, place: Path, stages: Stages = SILENT) -> ImportReport:
        """Import a folder with the archives in it, what a DICOMDIR names, or an archive; it stays as it is.

        Raises
        ------
        EmptySourceError
            There is no mammogram.
        IntakeError, UndecodableError
            The archive or DICOMDIR that was named cannot be read.
        MaskError
            The masks' table of values is malformed.
        HomeError
            Another import is running, or the home's pseudonym key is unreadable.
        StoreError
            The disk or the database refuses; what was added before stays.
        """
        source = open_source(place, self.rules, stages.scanning)
        with self.catalog.importing():
            remove_leftovers(spool_of(self.catalog.home))
            intake = _Intake(self.catalog, Pseudonyms.open(self.catalog.home))
            if source.kind != ARCHIVE:
                self._import(source, intake, stages)
            for archive in source.archives:
                try:
                    self._import_archive(archive, intake, stages)
                except IntakeError as error:
                    if source.kind == ARCHIVE:
                        raise
                    if isinstance(error, EmptySourceError):
                        intake.num_ignored += 1  # documents are zips too
                    else:
                        intake.refuse_archive(archive, error)
            intake.note()
        return intake.report(source.kind)

    def _import_archive(self, archive: Packed, intake: _Intake, stages: Stages) -> None:
        with unpacked(archive.path, spool_of(self.catalog.home), stages.unpacking) as folder:
            source = open_source(folder, self.rules, stages.scanning)
            if not (source.candidates or source.refusals):
                raise EmptySourceError(
                    "The archive holds nothing but archives.", "Unpack it and import the folder."
                )
            self._import(source, intake, stages, archive.position)
            intake.num_ignored += len(source.archives)

    def _import(self, source: Source, intake: _Intake, stages: Stages, archive: int | None = None) -> None:
        intake.archive = archive
        intake.num_ignored += source.num_ignored
        # By patient first: the split depends on this order, and on nothing else.
        ordered = sorted(source.candidates, key=lambda one: (visiting_rank(one.patient_id), one.source_id))
        for refusal in source.refusals:
            intake.refuse(refusal)
        wanted = [candidate for candidate in ordered if intake.wants(candidate)]
        known = len(ordered) - len(wanted)
        stages.preparing(known, len(ordered))
        with Workers(load, number=self.workers) as workers:
            for done, (candidate, outcome) in enumerate(workers.map(wanted), start=known + 1):
                if isinstance(outcome, Failure):
                    intake.refuse(candidate.refused(Reason.UNDECODABLE))
                elif isinstance(outcome, Refusal):
                    intake.refuse(outcome)
                else:
                    intake.take(candidate, outcome)
                stages.preparing(done, len(ordered))


class _Intake:
    """Images against the catalog: taken, known already, or refused."""

    def __init__(self, catalog: Catalog, pseudonyms: Pseudonyms) -> None:
        self._catalog = catalog
        self._pseudonyms = pseudonyms
        self.archive: int | None = None
        self.num_ignored = 0
        self._added = self._masks_added = self._already_there = 0
        self._refusals: list[Refusal] = []
        self._seen: set[str] = set()

    def wants(self, candidate: Candidate) -> bool:
        """Whether the candidate must be loaded: it is new, or its example lacks the mask that it brings."""
        if candidate.source_id in self._seen:
            self.refuse(candidate.refused(Reason.DUPLICATE))
            return False
        self._seen.add(candidate.source_id)
        known = self._catalog.find_source(self._pseudonyms.source(candidate.source_id))
        if known is not None and (known.has_mask or not candidate.has_mask):
            self._already_there += 1
            return False
        if known is None and self._catalog.is_withdrawn(self._pseudonyms.patient(candidate.patient_id)):
            self.refuse(candidate.refused(Reason.WITHDRAWN))
            return False
        return True

    def take(self, candidate: Candidate, loaded: Loaded) -> None:
        """Add a picture, or its mask to the example that is here already."""
        source = self._pseudonyms.source(candidate.source_id)
        known = self._catalog.find_source(source)
        if known is not None:
            assert loaded.labels_HW is not None  # `wants` let it pass for its mask
            self._catalog.set_mask(known.example_id, loaded.labels_HW, IMPORTED_MASK)
            self._masks_added += 1
            return
        content = self._pseudonyms.content(loaded.content_sha256)
        if self._catalog.has_content(content):
            self.refuse(candidate.refused(Reason.DUPLICATE))
            return
        self._catalog.add(
            Example(example_id=new_example_id(), image_HW=loaded.image_HW, labels_HW=loaded.labels_HW),
            Provenance(
                patient=self._pseudonyms.patient(candidate.patient_id),
                source=source,
                content=content,
                geometry=loaded.geometry,
                spacing=loaded.spacing,
                view=loaded.view,
                laterality=loaded.laterality,
                manufacturer=loaded.manufacturer,
                year=candidate.year,
                density=candidate.density,
                mirrored=loaded.mirrored,
            ),
            None if loaded.labels_HW is None else IMPORTED_MASK,
        )
        self._added += 1

    def refuse(self, refusal: Refusal) -> None:
        """Leave an image out."""
        self._refusals.append(replace(refusal, archive=self.archive))

    def refuse_archive(self, archive: Packed, error: IntakeError) -> None:
        """Leave what is left of an archive out."""
        self._refusals.append(
            Refusal(
                position=archive.position,
                reason=reason_of(error),
                message=error.message,
                remedy=error.hint,
            )
        )

    def note(self) -> None:
        """Write down what was left out."""
        self._catalog.note_refusals(
            [
                (self._pseudonyms.source(one.source_id), one.reason.value)
                for one in self._refusals
                if one.source_id is not None
            ]
        )

    def report(self, kind: str) -> ImportReport:
        """What became of everything."""
        by_position = sorted(
            self._refusals,
            key=lambda one: (one.archive or one.position, one.archive is not None, one.position),
        )
        return ImportReport(
            kind=kind,
            added=self._added,
            masks_added=self._masks_added,
            already_there=self._already_there,
            refusals=tuple(by_position),
            num_ignored=self.num_ignored,
        )


def _by_reason(refusals: Iterable[Refusal]) -> dict[Reason, int]:
    return dict(Counter(refusal.reason for refusal in refusals).most_common())
