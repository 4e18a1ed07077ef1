"""The main flow of an import: look through, order by patient, load and prepare in workers, add one by one.

Every example is committed by itself, so whatever was finished before a failure stays; a second import of the
same folder goes on where the first stopped and adds nothing twice. Only this process writes: the workers read
files and answer with pictures. Archives are unpacked one after the other into the home folder, and what was
unpacked is deleted as soon as it is imported.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from client.catalog import Catalog, MaskOrigin, Provenance, new_example_id
from client.holdings import KnownExample
from client.imaging.example import Example
from client.incoming import unpacked_folder
from client.intake.archives import unpacked
from client.intake.candidates import Candidate, Packed, Progress, Refusal, Source
from client.intake.exclusions import STRICT, IntakeRules, Reason, reason_of
from client.intake.loading import Loaded, load
from client.intake.pseudonyms import Pseudonyms
from client.intake.sources import ARCHIVE, open_source
from client.intake.workers import Workers
from client.store.parts import visiting_rank
from shared.audit.events import DataImported
from shared.errors import EmptySourceError, IntakeError, StoreError

IMPORTED_MASK = MaskOrigin(kind="import")


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
    completed
        Examples of an earlier import whose year or density is known by now.
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
    completed: int = 0
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


def _nobody(_done: int, _total: int) -> None:
    """Listen to no progress."""


def _unheard(_report: ImportReport) -> None:
    """Listen to no report."""


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
    actor
        Who imports, as the audit log names them.
    rules
        What this site takes.
    workers
        Processes that load and prepare; 0 for one per core.
    """

    catalog: Catalog
    actor: str
    rules: IntakeRules = STRICT
    workers: int = 0

    def bring_in(
        self,
        place: Path,
        stages: Stages = SILENT,
        on_failure: Callable[[ImportReport], None] = _unheard,
    ) -> ImportReport:
        """Import a folder with the archives in it, what a DICOMDIR names, or an archive; it stays as it is.

        Parameters
        ----------
        on_failure
            Told what was done before an error or an interrupt ends the import.

        Raises
        ------
        EmptySourceError
            There is no mammogram.
        IntakeError, UndecodableError
            The archive or DICOMDIR that was named cannot be read.
        MaskError
            The masks' table of values is malformed.
        BusyError
            Another import is running.
        HomeError
            The home's pseudonym key is missing or unreadable.
        ConfigError
            The worker processes cannot be started here.
        StoreError
            The disk or the database refuses; what was added before stays.
        """
        with self.catalog.importing():
            intake = _Intake(self.catalog, self.catalog.pseudonyms())
            source = open_source(place, self.rules, stages.scanning)
            try:
                self._import_all(source, intake, stages)
            except BaseException:
                with contextlib.suppress(StoreError):  # what ends the import is what is told
                    intake.note(actor=self.actor)
                on_failure(intake.report(source.kind))
                raise
            intake.note(actor=self.actor)
        return intake.report(source.kind)

    def _import_all(self, source: Source, intake: _Intake, stages: Stages) -> None:
        if source.kind != ARCHIVE:
            self._import(source, intake, stages)
        for archive in source.archives:
            try:
                self._import_archive(archive, intake, stages)
            except (IntakeError, NoRoomError) as error:
                if source.kind == ARCHIVE:
                    raise
                if isinstance(error, EmptySourceError):
                    intake.num_ignored += 1  # documents are zips too
                else:
                    intake.refuse_archive(archive, error)

    def _import_archive(self, archive: Packed, intake: _Intake, stages: Stages) -> None:
        with self._unpacked(archive, stages) as folder:
            source = open_source(folder, self.rules, stages.scanning)
            if not (source.candidates or source.refusals):
                raise EmptySourceError(
                    "The archive holds nothing but archives.", "Unpack it and import the folder."
                )
            self._import(source, intake, stages, archive.position)
            intake.num_ignored += len(source.archives)

    @contextlib.contextmanager
    def _unpacked(self, archive: Packed, stages: Stages) -> Iterator[Path]:
        with contextlib.ExitStack() as stack:
            try:
                spool = unpacked_folder(self.catalog.home)
                folder = stack.enter_context(unpacked(archive.path, spool, stages.unpacking))
            except StoreError as error:
                raise NoRoomError(error.message, error.hint) from error
            yield folder

    def _import(self, source: Source, intake: _Intake, stages: Stages, archive: int | None = None) -> None:
        intake.archive = archive
        intake.num_ignored += source.num_ignored
        for refusal in source.refusals:
            intake.refuse(refusal)
        # By patient first: the split depends on this order, and on nothing else.
        ordered = sorted(source.candidates, key=lambda one: (visiting_rank(one.patient_id), one.source_id))
        copies = _by_image(ordered)
        turn = [files.popleft() for files in copies.values()]
        with Workers(load, number=self.workers) as workers:
            # One file of each image in turn; then another one of those images whose file was of no use.
            while turn:
                wanted = [one for one in map(intake.wanted, turn) if one is not None]
                num_known = len(ordered) - sum(map(len, copies.values())) - len(wanted)
                stages.preparing(num_known, len(ordered))
                unusable: list[str] = []
                for done, (candidate, outcome) in enumerate(workers.map(wanted), start=num_known + 1):
                    if isinstance(outcome, Loaded):
                        intake.take(candidate, outcome)
                    else:
                        refusal = (
                            outcome if isinstance(outcome, Refusal) else candidate.refused(Reason.UNDECODABLE)
                        )
                        intake.refuse(refusal)
                        unusable.append(candidate.source_id)
                    stages.preparing(done, len(ordered))
                turn = [copies[source_id].popleft() for source_id in unusable if copies[source_id]]
        for candidate in (one for files in copies.values() for one in files):
            intake.refuse_copy(candidate)


class NoRoomError(StoreError):
    """An archive cannot be unpacked here, which says nothing about the next one."""


class _Intake:
    """Images against the catalog: taken, known already, or refused."""

    def __init__(self, catalog: Catalog, pseudonyms: Pseudonyms) -> None:
        self._catalog = catalog
        self._pseudonyms = pseudonyms
        self.archive: int | None = None
        self.num_ignored = 0
        self._added = self._masks_added = self._completed = self._already_there = 0
        self._refusals: list[Refusal] = []
        self._settled: set[str] = set()

    def wanted(self, candidate: Candidate) -> Candidate | None:
        """The candidate if it must be loaded: it is new, or its example lacks the mask that it brings."""
        if candidate.source_id in self._settled:
            self.refuse_copy(candidate)
            return None
        known = self._catalog.find_source(self._pseudonyms.source(candidate.source_id))
        if known is None:
            if self._withdrawn(candidate):
                self.refuse(candidate.refused(Reason.WITHDRAWN))
                return None
            return candidate
        self._completed += self._catalog.complete(known.example_id, candidate.year, candidate.density)
        if candidate.has_mask and not known.has_mask:
            return replace(candidate, geometry=known.geometry)
        self._already_there += 1
        self._settled.add(candidate.source_id)
        return None

    def take(self, candidate: Candidate, loaded: Loaded) -> None:
        """Add a picture, or its mask to the example that is here already; a model's draft is no mask."""
        source = self._pseudonyms.source(candidate.source_id)
        if loaded.labels_sha256 is not None and (
            self._pseudonyms.content(loaded.labels_sha256) in self._catalog.drafts.of(source)
        ):
            self.refuse(candidate.refused(Reason.DRAFT))
            loaded = replace(loaded, labels_HW=None, labels_sha256=None)
        content = self._pseudonyms.content(loaded.content_sha256)
        known = self._catalog.find_source(source)
        if known is not None:
            self._take_mask(known, content, candidate, loaded)
            return
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
        self._settled.add(candidate.source_id)

    def _take_mask(self, known: KnownExample, content: str, candidate: Candidate, loaded: Loaded) -> None:
        if loaded.labels_HW is None:
            return
        if known.content != content:
            self.refuse(candidate.refused(Reason.ALTERED))
            return
        self._catalog.set_mask(known.example_id, loaded.labels_HW, IMPORTED_MASK)
        self._masks_added += 1
        self._settled.add(candidate.source_id)

    def refuse_copy(self, candidate: Candidate) -> None:
        """Leave out another file of an image that is here, or whose patient has withdrawn."""
        self.refuse(candidate.refused(Reason.WITHDRAWN if self._withdrawn(candidate) else Reason.DUPLICATE))

    def _withdrawn(self, candidate: Candidate) -> bool:
        return self._catalog.is_withdrawn(self._pseudonyms.patient(candidate.patient_id))

    def refuse(self, refusal: Refusal) -> None:
        """Leave an image out."""
        self._refusals.append(replace(refusal, archive=self.archive))

    def refuse_archive(self, archive: Packed, error: IntakeError | StoreError) -> None:
        """Leave what is left of an archive out."""
        self._refusals.append(
            Refusal(
                position=archive.position,
                reason=reason_of(error) if isinstance(error, IntakeError) else Reason.UNREADABLE,
                message=error.message,
                remedy=error.hint,
            )
        )

    def _told(self) -> DataImported:
        """What the audit log has of it: numbers alone."""
        return DataImported(
            subject="images",
            num_examples=self._added,
            num_masks=self._masks_added,
            num_left_out=len(self._refusals),
        )

    def note(self, *, actor: str) -> None:
        """Write down that somebody imported, what was left out, and is not here by another file."""
        self._catalog.log.append(self._told(), actor=actor, at=time.time())
        reasons = {
            self._pseudonyms.source(one.source_id): one.reason.value
            for one in self._refusals
            if one.source_id is not None
        }
        self._catalog.note_refusals(
            [one for one in reasons.items() if self._catalog.find_source(one[0]) is None]
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
            completed=self._completed,
            already_there=self._already_there,
            refusals=tuple(by_position),
            num_ignored=self.num_ignored,
        )


def _by_image(candidates: Iterable[Candidate]) -> dict[str, deque[Candidate]]:
    """All files of each image, in the order given."""
    copies: dict[str, deque[Candidate]] = {}
    for candidate in candidates:
        copies.setdefault(candidate.source_id, deque()).append(candidate)
    return copies


def _by_reason(refusals: Iterable[Refusal]) -> dict[Reason, int]:
    return dict(Counter(refusal.reason for refusal in refusals).most_common())
