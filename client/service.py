"""The running site: two processes kept alive, and nothing that listens on other than loopback."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Callable

from client.home import LOOPBACK, SiteHome
from shared.files import hold_folder
from shared.flower.environment import flower_environment
from shared.supervision import Program, Supervisor

log = logging.getLogger(__name__)

TEND_S = 0.2


def serve(home: SiteHome, on_ready: Callable[[], None]) -> None:
    """Run until SIGTERM or SIGINT.

    Raises
    ------
    HomeError
        The site has not joined, or is already running.
    """
    home.membership()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with hold_folder(home.folder):
        port = _free_port()
        supervisor = Supervisor([_program(home, name, port) for name in ("supernode", "executor")])
        try:
            supervisor.tend()
            on_ready()
            while not stopping.wait(TEND_S):
                supervisor.tend()
        finally:
            supervisor.stop()


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
