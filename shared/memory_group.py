"""The memory limit that the kernel holds this process to, and whom it has killed for it (cgroup v2).

A service of systemd and a container each are one group, whose `memory.events` counts the processes that the
kernel has killed for want of memory (Linux, admin-guide/cgroup-v2.rst). Version 1 is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MOUNTED_AT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
_VERSION_2 = "0::"


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """One group, by its folder."""

    folder: Path

    @property
    def num_killed(self) -> int:
        """How many processes of the group were killed for want of memory; 0 where the kernel does not say."""
        try:
            lines = (self.folder / "memory.events").read_text().splitlines()
            return int(dict(line.split() for line in lines)["oom_kill"])
        except (OSError, ValueError, KeyError):
            return 0

    @property
    def limit_bytes(self) -> int | None:
        """How much memory its processes may have together; None without a limit."""
        try:
            return int((self.folder / "memory.max").read_text())
        except (OSError, ValueError):  # "max"
            return None


def own_group(*, own: Path = OWN, mounted_at: Path = MOUNTED_AT) -> MemoryGroup:
    """The group of this process and its children; it may be one that says nothing."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    place = next((line.removeprefix(_VERSION_2) for line in lines if line.startswith(_VERSION_2)), "/")
    return MemoryGroup(mounted_at / place.removeprefix("/"))
