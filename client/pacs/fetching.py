"""What both kinds of archive share: which of a study's instances are fetched, and how often it is tried.

Each instance is asked for by itself, so that a break costs one instance and a second start asks for the rest
only. An instance with which the line breaks again and again is given up if the archive still answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from client.dicom_node.spool import Spool
from client.imaging.mammogram import View
from client.intake.dicom_file import read_header
from client.intake.header import SopClass
from client.pacs.archive import (
    ConnectionLostError,
    FetchReport,
    InstanceFound,
    InstanceRefusedError,
    Skip,
    StudyFound,
    instance_file,
)
from client.pacs.retries import Patience, Retries
from shared.errors import IntakeError

MIN_FREE_BYTES = 2_000_000_000
"""The disk keeps so much."""

Retrieve = Callable[[InstanceFound], Path]
"""Brings one instance into the spool; raises ConnectionLostError, InstanceRefusedError or StoreError."""


def is_of_use(instance: InstanceFound) -> bool:
    """Whether an import may take it: no raw data, and no volume, which is the largest of all.

    A synthetic 2D view may be of the volumes' class; then it has one frame.
    """
    if instance.sop_class is SopClass.TOMOSYNTHESIS:
        return instance.num_frames == 1
    return instance.sop_class is not SopClass.FOR_PROCESSING


class Source(Protocol):
    """How one kind of archive is asked; see `Archive` for the errors."""

    def check(self) -> None:
        """Make sure that the archive answers."""

    def instances(self, study: StudyFound) -> list[InstanceFound]:
        """The mammograms and segmentations of a study, in one attempt."""

    def retrieving(self, study: StudyFound, spool: Spool) -> AbstractContextManager[Retrieve]:
        """A connection over which instances come."""


def fetch_instances(
    source: Source,
    study: StudyFound,
    folder: Path,
    skip: Skip,
    *,
    view: View | None,
    retries: Retries,
    min_free_bytes: int,
) -> FetchReport:
    """Fetch a study as `Archive.fetch` says."""
    fetching = _Fetching(
        source, study, Spool(folder, min_free_bytes=min_free_bytes), skip, view, Patience(retries)
    )
    found = fetching.patience.persist(lambda: source.instances(study))
    fetching.take([one for one in found if not one.is_mask])
    if fetching.report.fetched + fetching.report.kept:
        # A mask without a new image of its study has nothing to be matched with.
        fetching.take([one for one in found if one.is_mask])
    return fetching.report


class _Fetching:
    """One study on its way."""

    def __init__(
        self,
        source: Source,
        study: StudyFound,
        spool: Spool,
        skip: Skip,
        view: View | None,
        patience: Patience,
    ) -> None:
        self._source = source
        self._study = study
        self._spool = spool
        self._skip = skip
        self._view = view
        self.patience = patience
        self.report = FetchReport()

    def take(self, instances: Sequence[InstanceFound]) -> None:
        """Fetch what is wanted and not here."""
        waiting = deque(one for one in instances if self._wants(one))
        tried_twice: set[str] = set()
        while waiting:
            try:
                with self._source.retrieving(self._study, self._spool) as retrieve:
                    while waiting:
                        self._take_next(waiting, retrieve, tried_twice)
            except ConnectionLostError as error:
                self._outlast(error, waiting)

    def _take_next(self, waiting: deque[InstanceFound], retrieve: Retrieve, tried_twice: set[str]) -> None:
        instance = waiting[0]
        try:
            arrived = retrieve(instance)
        except InstanceRefusedError:
            waiting.popleft()
            if instance.sop_uid in tried_twice:
                self._count(failed=1)
            else:
                tried_twice.add(instance.sop_uid)
                waiting.append(instance)
            return
        waiting.popleft()
        self.patience.renew()
        if self._is_of_other_view(instance, arrived):
            arrived.unlink()
            self._count(other_view=1)
        else:
            arrived.replace(instance_file(self._spool.folder, instance.sop_uid))
            self._count(fetched=1)

    def _outlast(self, error: ConnectionLostError, waiting: deque[InstanceFound]) -> None:
        """Wait; and when patience has ended, see whether it is the archive or the one instance."""
        try:
            self.patience.spend(error)
        except ConnectionLostError:
            self._source.check()
            waiting.popleft()
            self._count(failed=1)
            self.patience.renew()

    def _wants(self, instance: InstanceFound) -> bool:
        if not is_of_use(instance):
            self._count(not_of_use=1)
        elif self._is_unwanted(instance.view) and not instance.is_mask:
            self._count(other_view=1)
        elif instance_file(self._spool.folder, instance.sop_uid).exists():
            self._count(kept=1)
        elif not instance.is_mask and self._skip(instance.sop_uid):
            self._count(decided=1)
        else:
            return True
        return False

    def _is_of_other_view(self, instance: InstanceFound, arrived: Path) -> bool:
        """The view is no key of queries that every archive answers: the header has the last word."""
        if self._view is None or instance.is_mask:
            return False
        try:
            return self._is_unwanted(read_header(arrived).view)
        except IntakeError:
            return False  # the import says what is wrong with it

    def _is_unwanted(self, view: str | None) -> bool:
        return self._view is not None and view is not None and view != self._view.value

    def _count(self, **numbers: int) -> None:
        self.report = replace(
            self.report, **{name: getattr(self.report, name) + number for name, number in numbers.items()}
        )
