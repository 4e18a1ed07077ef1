"""The running site: two processes kept alive, a membership kept up, nothing that listens beyond loopback."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable

from client.home import LOOPBACK, SiteHome
from client.renewal import is_member, jitter_of, renew, renewal_due, revoked_error
from shared.errors import MammofedError
from shared.files import hold_folder
from shared.flower.environment import flower_environment
from shared.supervision import Program, Supervisor

log = logging.getLogger(__name__)

SUPERNODE = "supernode"
EXECUTOR = "executor"
TEND_S = 0.2
UPKEEP_EVERY_S = 60.0


def serve(home: SiteHome, on_ready: Callable[[], None]) -> None:
    """Run until SIGTERM or SIGINT.

    Raises
    ------
    HomeError
        The site has not joined, or is already running.
    TrustError
        The coordinator has revoked this site: it asks for nothing any more.
    """
    home.membership()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with hold_folder(home.folder):
        port = _free_port()
        supervisor = Supervisor([_program(home, name, port) for name in (SUPERNODE, EXECUTOR)])
        upkeep = Upkeep(home)
        try:
            supervisor.tend()
            upkeep.start()
            on_ready()
            while not upkeep.revoked.is_set() and not stopping.wait(TEND_S):
                if SUPERNODE in supervisor.tend():
                    # It ends when the coordinator does not know its node any more.
                    upkeep.look_now()
        finally:
            supervisor.stop()
        if upkeep.revoked.is_set():
            raise revoked_error()


class Upkeep:
    """Renews the membership in the background, and notices its end."""

    def __init__(self, home: SiteHome) -> None:
        self.revoked = threading.Event()
        self._home = home
        self._look = threading.Event()

    def start(self) -> None:
        """Look now, and from then on every `UPKEEP_EVERY_S` seconds; ends with the process."""
        threading.Thread(target=self._keep_up, name="upkeep", daemon=True).start()

    def look_now(self) -> None:
        """Ask the coordinator soon whether this site is still a member."""
        self._look.set()

    def _keep_up(self) -> None:
        asks = True
        while not self.revoked.is_set():
            try:
                self._once(asks)
            except MammofedError as error:
                log.error("%s %s", error.message, error.hint)
            asks = self._look.wait(UPKEEP_EVERY_S)
            self._look.clear()

    def _once(self, asks: bool) -> None:
        membership = self._home.membership()
        due = renewal_due(membership.certificate_pem, now=time.time(), jitter=jitter_of(membership.site_id))
        if (due or asks) and not is_member(self._home):
            log.error("%s", revoked_error().message)
            self.revoked.set()
        elif due:
            renew(self._home)
            log.info("The certificate of this site is renewed")


def _program(home: SiteHome, name: str, runtime_port: int) -> Program:
    return Program(
        name=name,
        module=f"client.flower.{name}",
        arguments=[str(home.folder), str(runtime_port)],
        environment=flower_environment(home.flower / name),
        log_file=home.logs / f"{name}.log",
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
