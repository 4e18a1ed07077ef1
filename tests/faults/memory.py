"""A limit on one process's memory that the kernel enforces as it does when a machine has none left."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.federation import wait_until

GONE_WITHIN_S = 10.0
ROOT = Path("/sys/fs/cgroup/memory")


@contextlib.contextmanager
def little_memory(process_id: int, *, left_bytes: int) -> Iterator[Path]:
    """Give a process a memory cgroup of its own in which it may have so much more than it has now.

    The kernel's OOM killer ends it when it wants more. Yields the folder of the group. Skips the test where
    no cgroup (version 1) can be made.
    """
    group = _own_group() / f"mammofed-{secrets.token_hex(4)}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error.strerror}")
    try:
        # What it has already stays on its former group's account.
        (group / "memory.limit_in_bytes").write_text(str(left_bytes))
        (group / "cgroup.procs").write_text(str(process_id))
        yield group
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (group.parent / "cgroup.procs").write_text(left)
        wait_until(lambda: is_removed(group), GONE_WITHIN_S, "the end of the group")


def is_removed(group: Path) -> bool:
    """Remove a group, unless it holds what is still ending."""
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


def num_killed(group: Path) -> int:
    """How many processes of the group the kernel has killed for want of memory."""
    control = dict(line.split() for line in (group / "memory.oom_control").read_text().splitlines())
    return int(control["oom_kill"])


def _own_group() -> Path:
    lines = [line.split(":", 2) for line in Path(f"/proc/{os.getpid()}/cgroup").read_text().splitlines()]
    own = next((place for _, controllers, place in lines if "memory" in controllers.split(",")), None)
    return ROOT if own is None else ROOT / own.removeprefix("/")
