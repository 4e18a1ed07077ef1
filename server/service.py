"""The running coordinator: its listeners and the processes that it keeps alive."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import grpc

from server.clock import Clock
from server.consent import ConsentService
from server.coordinator import Coordinator, identity_of
from server.enrolment import EnrolmentService, serve_enrolment
from server.flower.control import Control
from server.home import CoordinatorHome
from server.issuing import renew_server_certificate
from server.launching import Launcher
from server.nodes import FOLLOW_EVERY_S, Nodes
from server.renewal import RenewalService
from server.store import Federation, Models, Runs
from server.store.audit import COORDINATOR
from server.store.memberships import Memberships
from server.store.transfers import Transfers
from shared.audit.settings import note_settings
from shared.disk_watch import DiskWatch
from shared.errors import ClockError, StoreError
from shared.files import hold_folder
from shared.flower.bundle import build_bundle, bundle_sha256
from shared.flower.environment import flower_environment
from shared.supervision import Program, Supervisor
from shared.transfer.service import TransferService, serve_blobs
from shared.trust.keys import TlsKey
from shared.trust.tls import enrolment_server_credentials, mutual_server_credentials

log = logging.getLogger(__name__)

SUPERLINK = "superlink"
RUNNER = "runner"
CONSOLE = "console"
MONITOR = "monitor"
MODULES = {
    SUPERLINK: "server.flower.superlink",
    RUNNER: "server.flower.runner",
    CONSOLE: "server.console.process",
    MONITOR: "server.monitoring.process",
}
TRANSFER_THREADS = 32
STARTUP_TIMEOUT_S = 60.0
TEND_S = 0.2
Attempt = tuple[str, int, int]
UPDATE_OVERHEAD = 2.1
"""An update is at most so many times as large as its base: two numbers for each weight (`scaffold`), masked
with up to 32 bits each, and names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobPolicy:
    """What each site may move: what it is now being asked for, and released models.

    An attempt does not outlast the process that serves it, so that what sites have named in it is kept here.
    """

    federation: Federation
    memberships: Memberships
    runs: Runs
    models: Models
    _named: dict[str, dict[Attempt, str]] = field(init=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def is_active(self, site_id: str) -> bool:
        """Whether the site is enrolled and not revoked."""
        return self.federation.is_active(site_id)

    def accepts(self, site_id: str, certificate_pem: bytes) -> bool:
        """Whether a certificate is one that the site has now; using a new one ends the one before it."""
        return self.memberships.use(site_id, certificate_pem)

    def may_fetch(self, site_id: str, digest: str) -> bool:
        """Plan and base weights of a round that the site is asked for; files of released models."""
        return self.runs.may_fetch(site_id, digest) or self.models.may_fetch(digest)

    def may_send(self, site_id: str, digest: str, size_bytes: int) -> bool:
        """One blob of an update's size in each attempt that the site is asked in: the first that it names."""
        expected = self.runs.expected_updates(site_id)
        fitting = [each.attempt for each in expected if 0 < size_bytes <= UPDATE_OVERHEAD * each.base_bytes]
        with self._lock:
            before = self._named.get(site_id, {})
            named = {each.attempt: before[each.attempt] for each in expected if each.attempt in before}
            unnamed = [attempt for attempt in fitting if attempt not in named]
            is_named = any(named.get(attempt) == digest for attempt in fitting)
            if unnamed and not is_named:
                named[unnamed[0]] = digest
            self._named[site_id] = named
            return is_named or bool(unnamed)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferNotes:
    """Writes down how far sites are; a store that refuses costs no site its transfer."""

    transfers: Transfers

    def fetched(self, site_id: str, digest: str) -> None:
        """A site has all of a blob."""
        with _unharmed():
            self.transfers.note_fetched(site_id, digest, at=time.time())

    def sending(self, site_id: str) -> None:
        """A site begins to send."""
        with _unharmed():
            self.transfers.note_sending(site_id, at=time.time())


@contextlib.contextmanager
def _unharmed() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        log.warning("It was not noted how far a site is: %s", error.message)


def discard_abandoned(coordinator: Coordinator) -> None:
    """Drop what ended processes were writing, and uploads that are of no round any more."""
    goes_on = bool(coordinator.runs.unfinished())
    coordinator.blobs.discard_unfinished(may_resume=lambda _digest: goes_on)


def serve(home: CoordinatorHome, on_ready: Callable[[], None]) -> None:
    """Run until SIGTERM or SIGINT.

    Raises
    ------
    HomeError
        It is already running with this home.
    ConfigError
        A listener's address is not free.
    StoreError
        The SuperLink does not come up.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with hold_folder(home.folder):
        coordinator = Coordinator.open(home)
        discard_abandoned(coordinator)
        now = time.time()
        if not coordinator.clock.contradicts_own_records(now=now) and renew_server_certificate(home, now=now):
            log.info("The listeners have a new certificate")
        note_settings(
            coordinator.audit,
            home.settings_file.read_bytes(),
            subject="coordinator.toml",
            actor=COORDINATOR,
            at=time.time(),
        )
        control = Control(home)
        nodes = Nodes(coordinator.federation, coordinator.memberships, control)
        launcher = Launcher(coordinator, control)
        wanted = [SUPERLINK, RUNNER, MONITOR] + (
            [CONSOLE] if home.settings().console_port is not None else []
        )
        supervisor = Supervisor([_program(home, name) for name in wanted])
        servers = _listen(home, coordinator, nodes)
        disk = DiskWatch(home.folder)
        followed_at, trouble = time.monotonic(), ""
        try:
            supervisor.tend()
            _wait_for_superlink(control)
            nodes.introduce_all()
            on_ready()
            while not stopping.wait(TEND_S):
                if SUPERLINK in supervisor.tend():
                    # What the runner worked for is gone with the SuperLink before; its successor resumes it.
                    supervisor.kill(RUNNER)
                    launcher.forget()
                    nodes.forget()
                if time.monotonic() - followed_at > FOLLOW_EVERY_S:
                    trouble = _follow(nodes, launcher, coordinator.clock, trouble)
                    disk.look()
                    followed_at = time.monotonic()
        finally:
            supervisor.stop()
            for server in servers:
                server.stop(grace=1).wait()


def _follow(nodes: Nodes, launcher: Launcher, clock: Clock, trouble: str) -> str:
    """Bring SuperLink up to the register; that the store refuses or the clock is wrong is told once."""
    try:
        nodes.follow_register()
        launcher.follow_consents()
        clock.require_right()
    except (StoreError, ClockError) as error:
        if error.message != trouble:
            log.error("%s %s", error.message, error.hint)
        return error.message
    return ""


def _program(home: CoordinatorHome, name: str) -> Program:
    return Program(
        name=name,
        module=MODULES[name],
        arguments=[str(home.folder)],
        environment=flower_environment(home.flower / name),
        log_file=home.logs / f"{name}.log",
        has_pulse=True,
    )


def _listen(home: CoordinatorHome, coordinator: Coordinator, nodes: Nodes) -> list[grpc.Server]:
    settings, identity = home.settings(), identity_of(home)
    chain_pem, tls_key = home.tls_chain_file.read_bytes(), TlsKey.load(home.tls_key_file)
    enrolments = EnrolmentService(
        coordinator=identity,
        register=coordinator.federation,
        clock=time.time,
        on_enrolled=lambda site: nodes.introduce(site.site_id),
    )
    renewals = RenewalService(
        coordinator=identity,
        federation=coordinator.federation,
        memberships=coordinator.memberships,
        clock=time.time,
        is_clock_right=lambda: not coordinator.clock.trouble(),
        on_renewed=nodes.introduce,
    )
    consents = ConsentService(coordinator, bundle_sha256=bundle_sha256(build_bundle()), clock=time.time)

    def add_others(server: grpc.Server) -> None:
        renewals.add_to(server)
        consents.add_to(server)

    policy = BlobPolicy(
        federation=coordinator.federation,
        memberships=coordinator.memberships,
        runs=coordinator.runs,
        models=coordinator.models,
    )
    enrolment_server, _ = serve_enrolment(
        enrolments,
        host=settings.listen,
        port=settings.enrolment_port,
        credentials=enrolment_server_credentials(chain_pem=chain_pem, key=tls_key),
    )
    transfer_server, _ = serve_blobs(
        TransferService(
            coordinator.blobs,
            policy,
            accepts=policy.accepts,
            witness=TransferNotes(transfers=coordinator.transfers),
        ),
        host=settings.listen,
        port=settings.transfer_port,
        credentials=mutual_server_credentials(
            chain_pem=chain_pem, key=tls_key, root_pem=identity.anchors.bundle_pem
        ),
        num_threads=TRANSFER_THREADS,
        add_others=add_others,
    )
    return [enrolment_server, transfer_server]


def _wait_for_superlink(control: Control) -> None:
    if not control.wait_until_up(STARTUP_TIMEOUT_S):
        raise StoreError(
            "Flower's SuperLink does not come up.", "Look at logs/superlink.log in the home folder."
        )
