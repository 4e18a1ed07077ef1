"""A role whose clock can be set while it runs, and nobody else's.

Its processes are started with `shifted_clock.c` in front of the C library: it shifts the time of day as it is
told to, for all that runs in them; what they measure by other clocks stays as it is.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.demo.federation import Role

SOURCE = Path(__file__).with_name("shifted_clock.c")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftedClock:
    """The clock of one role."""

    file: Path

    def set(self, ahead_s: int) -> None:
        """Let it be so far ahead of the system's, in seconds, from now on."""
        with self.file.open("r+b") as file:
            file.write(struct.pack("=q", ahead_s))


@contextlib.contextmanager
def own_clock(role: Role, folder: Path) -> Iterator[ShiftedClock]:
    """Start a role that runs anew under a clock of its own, for as long as the block lasts.

    Skips the test where there is no C compiler.
    """
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler: no process can have a clock of its own")
    library = folder / "shifted_clock.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
    clock = ShiftedClock(file=folder / "clock")
    clock.file.write_bytes(bytes(8))
    clock.set(0)
    before = role.environment
    role.stop()
    role.environment = {**before, "LD_PRELOAD": str(library), "CLOCK_SHIFT_FILE": str(clock.file)}
    try:
        role.start()
        yield clock
    finally:
        role.stop()
        role.environment = before
        role.start()
