"""Watching the processes of one measurement: memory, CPU time, bytes over loopback; and ending them.

They are known by a word in their environment, which every child inherits, so that other programs are left
alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path

MARK = "MAMMOFED_BENCH"
SAMPLING_S = 0.1
ENDING_S = 10.0


class Watch:
    """Samples the marked processes and the loopback interface while it is entered; ends what is left of them.

    Parameters
    ----------
    names
        What to call a process whose command line holds a text; the first that fits. Others are not listed.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._word = secrets.token_hex(8)
        self._names = names
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample_on, daemon=True)
        self._loopback: list[tuple[float, int]] = []
        self._cpu: list[tuple[float, dict[str, float]]] = []
        self.peaks: dict[str, int] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What the processes must be started with."""
        return {MARK: self._word}

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            for process_id in self._processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process_id, signal_number)
            deadline = time.monotonic() + ENDING_S
            while self._processes() and time.monotonic() < deadline:
                time.sleep(SAMPLING_S)

    def bytes_between(self, begin: float, end: float) -> int:
        """Bytes over loopback between two times (seconds since the epoch), each counted once."""
        counts = [count for at, count in self._loopback if begin <= at <= end]
        return counts[-1] - counts[0] if counts else 0

    def cpu_between(self, begin: float, end: float) -> dict[str, float]:
        """CPU time in seconds that each kind of process has used between two times (since the epoch)."""
        used = [seconds for at, seconds in self._cpu if begin <= at <= end]
        return {name: used[-1][name] - used[0].get(name, 0.0) for name in used[-1]} if used else {}

    def _sample_on(self) -> None:
        while not self._over.wait(SAMPLING_S):
            self._loopback.append((time.time(), _loopback_bytes()))
            used: dict[str, float] = {}
            for process_id in self._processes():
                self._note(process_id, used)
            self._cpu.append((time.time(), used))

    def _note(self, process_id: int, used: dict[str, float]) -> None:
        """A process's largest memory so far, and its CPU time, by the name of its kind."""
        folder = Path(f"/proc/{process_id}")
        with contextlib.suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            name = next((name for text, name in self._names.items() if text in line), None)
            found = re.search(r"VmHWM:\s+(\d+) kB", (folder / "status").read_text())
            if name is not None and found is not None:
                self.peaks[name] = max(self.peaks.get(name, 0), 1024 * int(found[1]))
                user, system = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
                used[name] = used.get(name, 0.0) + (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _processes(self) -> list[int]:
        marked = f"{MARK}={self._word}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if marked in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found


def _loopback_bytes() -> int:
    for line in Path("/proc/net/dev").read_text().splitlines():
        interface, _, numbers = line.partition(":")
        if interface.strip() == "lo":
            return int(numbers.split()[0])
    return 0
