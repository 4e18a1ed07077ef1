"""Child processes that are kept alive, and that never outlive their supervisor.

A child is one of our own modules, started as `python -P -m MODULE`. Its standard input is a pipe whose
other end the supervisor holds: when the supervisor dies, by whatever signal, the pipe closes and
`follow_supervisor` ends the child.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

FIRST_RESTART_DELAY_S = 0.5
LONGEST_RESTART_DELAY_S = 15.0
STEADY_AFTER_S = 30.0
TERMINATION_GRACE_S = 5.0


def follow_supervisor() -> None:
    """End this process as soon as its supervisor is gone."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os._exit(0)

    threading.Thread(target=wait, name="follow-supervisor", daemon=True).start()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A child process to keep alive.

    Attributes
    ----------
    name
        Name in logs and of the log file.
    module, arguments
        What is run.
    environment
        Its whole environment.
    log_file
        Where its output is appended.
    """

    name: str
    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log_file: Path


class Supervisor:
    """Keeps programs running: an ended one is started again, after a delay that grows while it fails."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self._kept = [_Kept(program) for program in programs]

    def tend(self) -> list[str]:
        """Start what is not running and due; call this several times a second.

        Returns
        -------
        Names of the programs that were started by this call.
        """
        return [kept.program.name for kept in self._kept if kept.tend(time.monotonic())]

    def stop(self) -> None:
        """End all children, the last one started first."""
        for kept in reversed(self._kept):
            kept.stop()


class _Kept:
    """One program and its current process."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._due_at = 0.0
        self._delay_s = 0.0

    def tend(self, now: float) -> bool:
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return False
            self._note_end(code, now)
        if now < self._due_at:
            return False
        self._start(now)
        return True

    def _note_end(self, code: int, now: float) -> None:
        lived_s = now - self._started_at
        last_delay_s = 0.0 if lived_s > STEADY_AFTER_S else self._delay_s
        self._delay_s = min(max(2 * last_delay_s, FIRST_RESTART_DELAY_S), LONGEST_RESTART_DELAY_S)
        self._due_at = now + self._delay_s
        self._close()
        log.warning(
            "%s ended with code %d; starting it again in %.1f s", self.program.name, code, self._delay_s
        )

    def _start(self, now: float) -> None:
        self.program.log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.program.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self.program.module, *self.program.arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(self.program.environment),
                start_new_session=True,
            )
        self._started_at = now
        log.info("%s started as process %d", self.program.name, self._process.pid)

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(TERMINATION_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        assert self._process is not None
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None
