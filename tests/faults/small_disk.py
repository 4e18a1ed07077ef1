"""A disk that is a role's alone, and that can be full."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.demo.federation import Role

BLOCK = bytes(1 << 16)
EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """The disk under one role's home."""

    home: Path

    @property
    def _filling(self) -> Path:
        return self.home / "filling"

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Leave no byte, also of what is deleted meanwhile, until the block ends."""
        over = threading.Event()
        taking = threading.Thread(target=self._take_all, args=[over], name="filling")
        self._take()
        taking.start()
        try:
            yield
        finally:
            over.set()
            taking.join()
            self._filling.unlink()

    def _take_all(self, over: threading.Event) -> None:
        while not over.wait(EVERY_S):
            self._take()

    def _take(self) -> None:
        with self._filling.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(BLOCK)


@contextlib.contextmanager
def own_disk(role: Role, *, spare_bytes: int) -> Iterator[SmallDisk]:
    """Lay the home of a role that runs on a disk of its own, of memory, for as long as the block lasts.

    The disk holds what is in the home, and so much more.

    Skips the test where no disk can be mounted.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    role.stop()
    beside = role.home.with_name(f"{role.home.name}-before")
    role.home.rename(beside)
    role.home.mkdir(mode=0o700)
    size_bytes = spare_bytes + sum(each.stat().st_size for each in beside.rglob("*") if each.is_file())
    try:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0700", "none", str(role.home)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("this machine lets no disk be mounted")
        try:
            shutil.copytree(beside, role.home, dirs_exist_ok=True)
            try:
                role.start()
                yield SmallDisk(role.home)
            finally:
                role.stop()
                shutil.rmtree(beside)
                shutil.copytree(role.home, beside)
        finally:
            subprocess.run(["umount", str(role.home)], check=True)
    finally:
        role.home.rmdir()
        beside.rename(role.home)
        role.start()
