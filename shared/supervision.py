"""Child processes that are kept alive, and that never outlive their supervisor.

A child is one of our own modules, started as `python -P -m MODULE`. Its standard input is one end of a socket
pair whose other end the supervisor holds. When the supervisor dies, by whatever signal, that closes and
`follow_supervisor` ends the child. The other way the child tells by its `Pulse` that it is alive: one that
says nothing for `SILENT_AFTER_S`, because it was stopped or hangs, is killed by its id and started again. One
that the kernel has killed for want of memory is told of as such, for that needs a person.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.memory_group import MemoryGroup, own_group

log = logging.getLogger(__name__)

FIRST_RESTART_DELAY_S = 0.5
LONGEST_RESTART_DELAY_S = 15.0
STEADY_AFTER_S = 30.0
TERMINATION_GRACE_S = 5.0
BEAT_EVERY_S = 1.0
SILENT_AFTER_S = 15.0
SHORT_OF_MEMORY_FOR_S = 3600.0
"""So long a program counts as short of memory after the kernel has killed it."""
STARTUP_S = 120.0
"""How long a child may say nothing from its start on: importing torch from a cold disk takes its time."""


class Pulse:
    """Tells this process's supervisor that it is alive, for as long as its work goes on.

    A thread says so every `BEAT_EVERY_S`, but only until the time that the work itself has named: whoever
    works calls `expect` before each step, and so is missed when a step takes longer than it may.
    """

    def __init__(self) -> None:
        self._until = time.monotonic() + STARTUP_S

    def expect(self, within_s: float) -> None:
        """The next call comes within this time; after that the supervisor may end this process."""
        self._until = time.monotonic() + within_s

    def is_due(self, now: float) -> bool:
        """Whether to say at this time (monotonic) that the process is alive."""
        return now <= self._until

    def start(self) -> None:
        """Say so from now on, in the background, over the standard input that the supervisor has given."""

        def beat() -> None:
            with socket.socket(fileno=os.dup(0)) as supervisor:
                while True:
                    if self.is_due(time.monotonic()):
                        with contextlib.suppress(BlockingIOError):  # it will read later
                            supervisor.send(b".", socket.MSG_DONTWAIT)
                    time.sleep(BEAT_EVERY_S)

        threading.Thread(target=beat, name="pulse", daemon=True).start()


def follow_supervisor() -> None:
    """End this process as soon as its supervisor is gone."""

    def wait() -> None:
        # A supervisor that is killed with signs of life unread resets the line instead of closing it.
        with contextlib.suppress(ConnectionResetError):
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
    has_pulse
        Whether it starts a `Pulse`; one that does not is never taken for hung.
    """

    name: str
    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log_file: Path
    has_pulse: bool = False


class Supervisor:
    """Keeps programs running: an ended or silent one is started again, later and later while it fails."""

    def __init__(self, programs: Sequence[Program], memory: MemoryGroup | None = None) -> None:
        witness = _MemoryWitness(memory or own_group())
        self._kept = [_Kept(program, witness) for program in programs]

    def tend(self) -> list[str]:
        """Start what is not running and due; call this several times a second.

        Returns
        -------
        Names of the programs that were started by this call.
        """
        return [kept.program.name for kept in self._kept if kept.tend(time.monotonic())]

    def short_of_memory(self, now: float) -> str:
        """What to do about programs that the kernel has killed for want of memory of late; empty if none.

        Parameters
        ----------
        now
            Monotonic time.
        """
        said = [kept.short_of_memory for kept in self._kept if kept.is_short_of_memory(now)]
        return " ".join(said)

    def kill(self, name: str) -> None:
        """End a program that has outlived what it worked for; `tend` starts it again."""
        for kept in self._kept:
            if kept.program.name == name:
                kept.kill()

    def stop(self) -> None:
        """End all children, the last one started first."""
        for kept in reversed(self._kept):
            kept.stop()


class _MemoryWitness:
    """Counts each process that the kernel has killed once, whichever program it was."""

    def __init__(self, group: MemoryGroup) -> None:
        self.group = group
        self._told = group.num_killed

    def has_killed(self) -> bool:
        """Whether the kernel has killed one more than was told."""
        before, self._told = self._told, self.group.num_killed
        return self._told > before


class _Kept:
    """One program and its current process."""

    def __init__(self, program: Program, memory: _MemoryWitness) -> None:
        self.program = program
        self._memory = memory
        self._is_ended_by_us = False
        self._short_until = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._started_at = 0.0
        self._heard_until = 0.0
        self._due_at = 0.0
        self._delay_s = 0.0

    def tend(self, now: float) -> bool:
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                self._listen(now)
                return False
            self._note_end(self._reason(code, now), now)
        if now < self._due_at:
            return False
        try:
            self._start(now)
        except OSError as error:  # of this machine, not of the program: no process, file or memory left
            self._note_end(f"cannot be started ({error.strerror})", now)
            return False
        return True

    def _reason(self, code: int, now: float) -> str:
        if code != -signal.SIGKILL or self._is_ended_by_us or not self._memory.has_killed():
            return f"ended with code {code}"
        self._short_until = now + SHORT_OF_MEMORY_FOR_S
        log.error("%s", self.short_of_memory)
        return "was killed by the kernel"

    def is_short_of_memory(self, now: float) -> bool:
        return now < self._short_until

    @property
    def short_of_memory(self) -> str:
        limit = self._memory.group.limit_bytes
        held_to = "has no limit" if limit is None else f"may have {limit / 2**30:.1f} GiB"
        return (
            f"The kernel has ended the {self.program.name} for want of memory; the service {held_to}. "
            "Give it more: `MemoryMax` of its unit, or the container's limit, or the machine itself."
        )

    def _listen(self, now: float) -> None:
        """Hear whether the process is alive; kill one that has been silent for too long."""
        assert self._line is not None
        with contextlib.suppress(BlockingIOError):
            while self._line.recv(64, socket.MSG_DONTWAIT):
                self._heard_until = now + SILENT_AFTER_S
        if self.program.has_pulse and now > self._heard_until:
            log.error("%s does not answer any more; it is ended", self.program.name)
            self.kill()

    def _note_end(self, what: str, now: float) -> None:
        lived_s = now - self._started_at
        last_delay_s = 0.0 if lived_s > STEADY_AFTER_S else self._delay_s
        self._delay_s = min(max(2 * last_delay_s, FIRST_RESTART_DELAY_S), LONGEST_RESTART_DELAY_S)
        self._due_at = now + self._delay_s
        self._close()
        log.warning("%s %s; starting it again in %.1f s", self.program.name, what, self._delay_s)

    def _start(self, now: float) -> None:
        self.program.log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._started_at, self._is_ended_by_us = now, False
        self._line, theirs = socket.socketpair()
        with theirs, self.program.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", self.program.module, *self.program.arguments],
                stdin=theirs.fileno(),
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(self.program.environment),
                start_new_session=True,
            )
        self._heard_until = now + STARTUP_S
        log.info("%s started as process %d", self.program.name, self._process.pid)

    def kill(self) -> None:
        if self._process is not None:
            self._is_ended_by_us = True
            self._process.kill()

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
        if self._line is not None:
            self._line.close()
        self._line = self._process = None
