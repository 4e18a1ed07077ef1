"""A bare Debian in a folder, booted with systemd as its first process, in a network that leads nowhere."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.demo.federation import wait_until
from tests.e2e.isolation import why_not

PROGRAMS = ("debootstrap", "systemd-nspawn", "nsenter", "gpg", "gpgv")
INCLUDED = "systemd,systemd-sysv,dbus,python3"
"""Beside debootstrap's least variant: what every Debian that somebody installs has."""

BOOT_S = 60.0
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
KEPT_OUT = ("dev", "proc", "root", "run", "srv", "sys", "tmp", "var/log", "var/tmp", "var/lib/mammofed-site")
"""What the system itself writes, what a test lays there, and the data that stay."""


def obstacle() -> str | None:
    """What keeps this machine from making such a box, or None."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return why_not() or (f"not installed: {', '.join(missing)}" if missing else None)


def bare_debian(folder: Path) -> Path:
    """Debian of this machine's own package source, as debootstrap lays it down."""
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # The main archive's suite is a plain word; updates and security have a hyphen.
    source, suite = next(line.split() for line in told.splitlines() if "-" not in line.split()[1])
    root = folder / "debian"
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", suite, str(root), source],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return root


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A booted one.

    Attributes
    ----------
    namespace
        Of its network, for `ip netns exec`.
    leader
        Process id of its systemd.
    """

    root: Path
    namespace: str
    leader: int

    def run(self, command: str, *, timeout_s: float = 900) -> str:
        """What a command prints in root's shell, on both streams. Raises CalledProcessError."""
        done = subprocess.run(
            ["nsenter", "--all", "--target", str(self.leader), "--", "/bin/sh", "-c", f"cd /root; {command}"],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"`{command}` ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def files(self) -> set[str]:
        """The names of all files, but for `KEPT_OUT`."""
        found = set()
        for folder, folders, names in os.walk(self.root):
            place = os.path.relpath(folder, self.root)
            folders[:] = [each for each in folders if os.path.normpath(f"{place}/{each}") not in KEPT_OUT]
            found |= {os.path.normpath(f"{place}/{name}") for name in [*folders, *names]}
        return found


@contextlib.contextmanager
def booted(root: Path) -> Iterator[Box]:
    """Boot it; its network has loopback and nothing else."""
    namespace = f"mammofed-{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    subprocess.run(["ip", "-netns", namespace, "link", "set", "lo", "up"], check=True)
    process = subprocess.Popen(
        [
            *(
                "systemd-nspawn",
                "--quiet",
                "--register=no",
                "--keep-unit",
                "--directory",
                str(root),
                "--boot",
            ),
            f"--network-namespace-path=/run/netns/{namespace}",
        ],
        env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        leaders: list[int] = []

        def has_leader() -> bool:
            leaders[:] = [int(each) for each in _children(process.pid)]
            return bool(leaders)

        wait_until(has_leader, BOOT_S, "the box's first process")
        time.sleep(1)  # its namespaces are made before it runs anything
        box = Box(root=root, namespace=namespace, leader=leaders[0])
        box.run("systemctl is-system-running --wait || systemctl --failed --no-pager", timeout_s=BOOT_S)
        yield box
    finally:
        process.terminate()
        try:
            process.wait(BOOT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


def _children(process_id: int) -> list[str]:
    file = Path(f"/proc/{process_id}/task/{process_id}/children")
    return file.read_text().split() if file.exists() else []
