"""The running site: two processes kept alive, a membership kept up, nothing that listens beyond loopback."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from importlib.metadata import version

from client.consent_upkeep import ConsentUpkeep
from client.contact import ContactNote
from client.home import LOOPBACK, SiteHome
from client.metrics import showing_metrics
from client.page.listening import listening
from client.renewal import is_under_older_root, jitter_of, renew, renewal_due
from client.standing import check_standing, learn, revoked_error
from client.store.audit import AuditLog
from client.store.opening import open_site_store
from shared.audit.settings import note_settings
from shared.disk_watch import DiskWatch
from shared.errors import MammofedError
from shared.files import hold_folder
from shared.flower.environment import flower_environment
from shared.supervision import Program, Supervisor

log = logging.getLogger(__name__)

SUPERNODE = "supernode"
EXECUTOR = "executor"
TEND_S = 0.2
UPKEEP_EVERY_S = 60.0
RETRY_EVERY_S = 10.0


def serve(home: SiteHome, on_ready: Callable[[], None]) -> None:
    """Run until SIGTERM or SIGINT.

    Raises
    ------
    HomeError
        The site has not joined, or is already running.
    TrustError
        The coordinator has revoked this site: it asks for nothing any more.
    """
    site_id = home.membership().site_id
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with hold_folder(home.folder):
        note_settings(
            AuditLog(open_site_store(home.folder)),
            home.settings_file.read_bytes() if home.settings_file.exists() else b"",
            subject="site.toml",
            actor=site_id,
            at=time.time(),
        )
        port = _free_port()
        supervisor = Supervisor([_program(home, name, port) for name in (SUPERNODE, EXECUTOR)])
        contact = ContactNote(home.contact_file)
        upkeep = Upkeep(home, contact)
        with listening(home), showing_metrics(home):
            try:
                supervisor.tend()
                upkeep.start()
                ConsentUpkeep(home, contact, on_refused=upkeep.look_now).start()
                on_ready()
                while home.has_joined() and not upkeep.revoked.is_set() and not stopping.wait(TEND_S):
                    if SUPERNODE in supervisor.tend():
                        # It ends when the coordinator does not know its node any more.
                        upkeep.look_now()
                    contact.note("memory", supervisor.short_of_memory(time.monotonic()))
            finally:
                supervisor.stop()
        if not home.has_joined():
            log.info("This site has left its federation")
        elif upkeep.revoked.is_set():
            raise revoked_error()


class Upkeep:
    """Renews the membership in the background, and notices its end and the coordinator's new keys."""

    def __init__(self, home: SiteHome, contact: ContactNote) -> None:
        self.revoked = threading.Event()
        self._home = home
        self._contact = contact
        self._look = threading.Event()
        self._disk = DiskWatch(home.folder)

    def start(self) -> None:
        """Look now, and from then on every `UPKEEP_EVERY_S`, sooner after trouble; ends with the process."""
        threading.Thread(target=self._keep_up, name="upkeep", daemon=True).start()

    def look_now(self) -> None:
        """Ask the coordinator now instead of after `UPKEEP_EVERY_S`."""
        self._look.set()

    def _keep_up(self) -> None:
        trouble = ""
        while not self.revoked.is_set():
            try:
                self._once()
            except MammofedError as error:
                if error.message != trouble:  # said once, not at each try
                    log.error("%s %s", error.message, error.hint)
                trouble = error.message
                self._contact.troubled("upkeep", f"{error.message} {error.hint}")
            except Exception:
                # This thread must not end: without it the certificate would, unnoticed until then.
                log.exception("The upkeep of the membership failed")
                trouble = "failed"
            else:
                trouble = ""
                self._contact.answered("upkeep")
            self._look.wait(RETRY_EVERY_S if trouble else UPKEEP_EVERY_S)
            self._look.clear()

    def _once(self) -> None:
        self._contact.note("disk", self._disk.look())
        if not learn(self._home):
            log.error("%s", revoked_error().message)
            self.revoked.set()
            return
        membership = self._home.membership()
        due = renewal_due(membership.certificate_pem, now=time.time(), jitter=jitter_of(membership.site_id))
        # A site that was updated tells the coordinator of its version with its next renewal: now.
        is_updated = membership.told_version != version("mammofed")
        if due or is_updated or is_under_older_root(membership):
            renew(self._home)
            log.info("The certificate of this site is renewed")
        # A node whose clock is wrong is refused by the coordinator's Flower, which does not say why.
        check_standing(self._home)


def _program(home: SiteHome, name: str, runtime_port: int) -> Program:
    return Program(
        name=name,
        module=f"client.flower.{name}",
        arguments=[str(home.folder), str(runtime_port)],
        environment=flower_environment(home.flower / name),
        log_file=home.logs / f"{name}.log",
        has_pulse=True,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
