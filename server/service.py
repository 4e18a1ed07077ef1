"""The running coordinator: its listeners and the processes that it keeps alive."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from server.coordinator import Coordinator
from server.enrolment import CoordinatorIdentity, EnrolledSite, EnrolmentService, serve_enrolment
from server.flower.control import Control
from server.home import CoordinatorHome
from server.store import Federation, Runs
from shared.errors import StoreError
from shared.files import hold_folder
from shared.flower.environment import flower_environment
from shared.supervision import Program, Supervisor
from shared.transfer.service import TransferService, serve_blobs
from shared.trust.keys import NodePublicKey, TlsKey
from shared.trust.tls import enrolment_server_credentials, join_address, mutual_server_credentials

log = logging.getLogger(__name__)

SUPERLINK = "superlink"
RUNNER = "runner"
TRANSFER_THREADS = 32
STARTUP_TIMEOUT_S = 60.0
TEND_S = 0.2
UPDATE_OVERHEAD = 1.1
"""An update is as large as its base but for names; this much larger is still expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobPolicy:
    """What each site may move: what it is now being asked for, and nothing else."""

    federation: Federation
    runs: Runs

    def is_active(self, site_id: str) -> bool:
        """Whether the site is enrolled and not revoked."""
        return self.federation.is_active(site_id)

    def may_fetch(self, site_id: str, digest: str) -> bool:
        """Plan and base weights of a round that the site is asked for."""
        return self.runs.may_fetch(site_id, digest)

    def may_send(self, site_id: str, digest: str, size_bytes: int) -> bool:
        """One update's worth of bytes, while the site is being asked for one."""
        return 0 < size_bytes <= UPDATE_OVERHEAD * self.runs.largest_expected(site_id)


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
        control = Control(home)
        supervisor = Supervisor([_program(home, SUPERLINK), _program(home, RUNNER)])
        servers = _listen(home, coordinator, control)
        try:
            while not stopping.is_set():
                if SUPERLINK in supervisor.tend():
                    _introduce_all(coordinator.federation, control)
                    on_ready()
                stopping.wait(TEND_S)
        finally:
            supervisor.stop()
            for server in servers:
                server.stop(grace=1).wait()


def _program(home: CoordinatorHome, name: str) -> Program:
    return Program(
        name=name,
        module=f"server.flower.{name}",
        arguments=[str(home.folder)],
        environment=flower_environment(home.flower / name),
        log_file=home.logs / f"{name}.log",
    )


def _listen(home: CoordinatorHome, coordinator: Coordinator, control: Control) -> list[grpc.Server]:
    settings = home.settings()
    chain_pem, tls_key = home.tls_chain_file.read_bytes(), TlsKey.load(home.tls_key_file)
    root_pem = home.root_certificate_file.read_bytes()
    enrolments = EnrolmentService(
        coordinator=CoordinatorIdentity(
            name=settings.name,
            signing_key=coordinator.signing_key.verify_key,
            root_pem=root_pem,
            fleet_address=join_address(settings.host, settings.fleet_port),
            transfer_address=join_address(settings.host, settings.transfer_port),
            root_key=TlsKey.load(home.root_key_file),
        ),
        register=coordinator.federation,
        clock=time.time,
        on_enrolled=lambda site: _introduce(site, coordinator.federation, control),
    )
    policy = BlobPolicy(federation=coordinator.federation, runs=coordinator.runs)
    enrolment_server, _ = serve_enrolment(
        enrolments,
        host=settings.listen,
        port=settings.enrolment_port,
        credentials=enrolment_server_credentials(chain_pem=chain_pem, key=tls_key),
    )
    transfer_server, _ = serve_blobs(
        TransferService(coordinator.blobs, policy),
        host=settings.listen,
        port=settings.transfer_port,
        credentials=mutual_server_credentials(chain_pem=chain_pem, key=tls_key, root_pem=root_pem),
        num_threads=TRANSFER_THREADS,
    )
    return [enrolment_server, transfer_server]


def _introduce_all(federation: Federation, control: Control) -> None:
    """Make every active site's node known to a SuperLink that has just started with an empty state."""
    federation.forget_nodes()
    if not control.wait_until_up(STARTUP_TIMEOUT_S):
        raise StoreError(
            "Flower's SuperLink does not come up.", "Look at logs/superlink.log in the home folder."
        )
    for site in federation.active():
        node_key = NodePublicKey(site.node_public_key)
        federation.set_node_id(site.site_id, control.register_node(node_key.to_pem(), site.site_id))


def _introduce(site: EnrolledSite, federation: Federation, control: Control) -> None:
    """Make a newly enrolled site's node known, unless it is."""
    known = {each.site_id: each.node_id for each in federation.active()}
    if known.get(site.site_id) is None:
        node_id = control.register_node(site.keys.node_key.to_pem(), site.site_id)
        federation.set_node_id(site.site_id, node_id)
