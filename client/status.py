"""How a site is, at a glance: for the terminal and for the page on loopback."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Any

from client.clinic.kept import clinic_folder
from client.contact import read_contact
from client.gpus import Gpu, list_gpus
from client.home import SiteHome
from client.plan_states import PlanState
from client.store.clinic import ClinicQueue
from client.store.ledger import Ledger, LedgerTotals
from client.store.opening import open_site_store
from client.store.plans import Plans
from client.work import Work, read_work
from shared.files import is_held
from shared.trust.certificates import expires_at

FRESH_S = 60.0
"""A running site asks the coordinator every two seconds: an answer older than this is told as missing."""


class State(StrEnum):
    """What the site is doing."""

    NOT_JOINED = "not joined"
    STOPPED = "stopped"
    PAUSED = "paused"
    OUT_OF_TOUCH = "out of touch"
    WAITING = "waiting"
    WORKING = "working"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clinic:
    """How the clinic's DICOM node is.

    Attributes
    ----------
    num_images, num_objects
        What waits: to be measured, and for the archive.
    waiting_since
        When the first of them came, in seconds since the Unix epoch; None if nothing waits.
    """

    is_running: bool
    num_images: int
    num_objects: int
    waiting_since: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a site is.

    Attributes
    ----------
    at, last_contact_at, certificate_ends_at
        Seconds since the Unix epoch.
    troubles
        What the running site has in its way.
    work
        What it is answering now.
    clinic
        None where no DICOM node was ever run.
    """

    at: float
    state: State
    software_version: str
    site_name: str | None
    site_id: str | None
    coordinator_name: str | None
    last_contact_at: float | None
    troubles: tuple[str, ...]
    certificate_ends_at: float | None
    work: Work | None
    waiting_plans: int
    approved_plans: int
    gpus: tuple[Gpu, ...]
    disk_free_bytes: int
    disk_total_bytes: int
    ledger: LedgerTotals
    clinic: Clinic | None

    def to_json(self) -> dict[str, Any]:
        """For machines and the page."""
        return {**asdict(self), "state": self.state.value}

    def lines(self) -> Iterator[str]:
        """For the terminal."""
        who = f"'{self.site_name}' in the federation '{self.coordinator_name}': " if self.site_name else ""
        yield f"{who}{self.state.value}"
        yield from (f"  ! {trouble}" for trouble in self.troubles)
        if self.site_name:
            yield f"Last contact: {_ago(self.at, self.last_contact_at)}"
        yield f"Work: {_work(self.work)}"
        yield f"Plans: {self.waiting_plans} wait for a decision, {self.approved_plans} approved"
        if self.certificate_ends_at is not None:
            days = (self.certificate_ends_at - self.at) / 86_400
            yield f"Certificate: {days:.0f} more days; it renews itself"
        for gpu in self.gpus:
            memory, busy = _of(gpu.used_mib, gpu.total_mib), _or_unknown(gpu.busy_percent)
            yield f"GPU: {gpu.name}, {memory} MiB used, {busy} % busy"
        if not self.gpus:
            yield "GPU: none that NVIDIA's driver tells of"
        yield f"Disk: {self.disk_free_bytes / 2**30:.1f} of {self.disk_total_bytes / 2**30:.1f} GiB free"
        yield f"Ledger: {_left(self.ledger, self.at)}"
        if self.clinic is not None:
            yield f"DICOM node: {_clinic(self.clinic, self.at)}"
        yield f"Version: {self.software_version}"


class Glance:
    """Looks at one home, whose database it keeps open.

    Raises
    ------
    HomeError
        There is no site in this folder.
    StoreError
        Its database cannot be opened.
    """

    def __init__(self, home: SiteHome) -> None:
        home.check_in_use()
        engine = open_site_store(home.folder)
        self._home, self._plans, self._ledger = home, Plans(engine), Ledger(engine)
        self._queue = ClinicQueue(engine)

    def look(self) -> Status:
        """How the site is now. Raises StoreError if its database or membership cannot be read."""
        states = [each.state for each in self._plans.all()]
        return _status(self._home, states, self._ledger.totals(), self._clinic())

    def _clinic(self) -> Clinic | None:
        folder = clinic_folder(self._home.folder)
        if not folder.is_dir():
            return None
        return Clinic(
            is_running=is_held(folder),
            num_images=self._queue.num_images(),
            num_objects=self._queue.num_objects(),
            waiting_since=self._queue.waiting_since(),
        )


def _status(home: SiteHome, plans: list[PlanState], ledger: LedgerTotals, clinic: Clinic | None) -> Status:
    now = time.time()
    membership = home.membership() if home.has_joined() else None
    contact, is_running = read_contact(home.contact_file), is_held(home.folder)
    work = read_work(home.work_file) if is_running else None
    disk = shutil.disk_usage(home.folder)
    last_contact_at = contact.answered_at if contact else None
    if membership is None:
        state = State.NOT_JOINED
    elif not is_running:
        state = State.STOPPED
    elif home.paused_file.exists():
        state = State.PAUSED
    elif last_contact_at is None or now - last_contact_at > FRESH_S:
        state = State.OUT_OF_TOUCH
    else:
        state = State.WORKING if work else State.WAITING
    return Status(
        at=now,
        state=state,
        software_version=version("mammofed"),
        site_name=membership.site_name if membership else None,
        site_id=membership.site_id if membership else None,
        coordinator_name=membership.coordinator_name if membership else None,
        last_contact_at=last_contact_at,
        troubles=contact.troubles if contact and is_running else (),
        certificate_ends_at=expires_at(membership.certificate_pem) if membership else None,
        work=work,
        waiting_plans=plans.count(PlanState.WAITING),
        approved_plans=plans.count(PlanState.APPROVED),
        gpus=tuple(list_gpus()),
        disk_free_bytes=disk.free,
        disk_total_bytes=disk.total,
        ledger=ledger,
        clinic=clinic,
    )


def _ago(now: float, at: float | None) -> str:
    if at is None:
        return "never"
    seconds = max(0, round(now - at))
    if seconds < 120:
        return f"{seconds} s ago"
    return f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(at))}, {seconds // 60} min ago"


def _clinic(clinic: Clinic, now: float) -> str:
    runs = "runs" if clinic.is_running else "does not run"
    if clinic.waiting_since is None:
        return f"{runs}, nothing waits"
    waits = f"{clinic.num_images} images wait to be measured, {clinic.num_objects} objects for the archive"
    return f"{runs}; {waits}, the first came {_ago(now, clinic.waiting_since)}"


def _left(ledger: LedgerTotals, now: float) -> str:
    if not ledger.messages:
        return "nothing has left"
    last = _ago(now, ledger.last_at)
    left = "1 message has" if ledger.messages == 1 else f"{ledger.messages} messages have"
    return f"{left} left, {ledger.size_bytes / 1e6:.1f} MB, the last {last}"


def _work(work: Work | None) -> str:
    if work is None:
        return "nothing at the moment"
    step = f", step {work.step} of {work.num_steps}" if work.num_steps else ""
    return f"{work.run_id}, round {work.round_number}, {work.phase}{step}"


def _of(part: int | None, whole: int | None) -> str:
    return f"{_or_unknown(part)} of {_or_unknown(whole)}"


def _or_unknown(number: int | None) -> str:
    return "?" if number is None else str(number)
