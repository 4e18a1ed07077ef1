"""A whole federation on this machine, driven through the documented commands alone.

Coordinator and sites are processes of their own with home folders of their own; nothing here reaches into
them but by their command lines and the files that these are documented to write.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STOP_TIMEOUT_S = 20.0


class CommandError(Exception):
    """A command ended with another exit code than 0."""


@dataclass(slots=True, kw_only=True)
class Role:
    """One role at this machine: its home, its command line and, while it runs, its process.

    Attributes
    ----------
    command
        Name of the console script, installed beside the running Python.
    prefix
        Put before every command, such as `ip netns exec NAME`.
    """

    command: str
    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = None

    def run(self, *arguments: str, timeout_s: float = 600.0) -> str:
        """Run a command to its end; returns what it printed.

        Raises
        ------
        CommandError
            Its exit code is not 0.
        """
        done = subprocess.run(
            self._line(*arguments),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise CommandError(f"{self.command} {arguments[0]} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def ask(self, *arguments: str, timeout_s: float = 600.0) -> Any:
        """Run a command with `--json`; returns the value of its last line."""
        return json.loads(self.run(*arguments, "--json", timeout_s=timeout_s).strip().splitlines()[-1])

    def follow(self, *arguments: str) -> None:
        """Run a command whose output goes to the terminal.

        Raises
        ------
        CommandError
            Its exit code is not 0.
        """
        code = subprocess.run(
            self._line(*arguments), env=self._environment(), stdin=subprocess.DEVNULL, check=False
        ).returncode
        if code:
            raise CommandError(f"{self.command} {arguments[0]} ended with {code}")

    def start(self) -> None:
        """Start the role's service and wait until it says that it is there.

        Raises
        ------
        CommandError
            It ended, or said nothing in time.
        """
        self.process = subprocess.Popen(
            self._line("serve", "--json"),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise CommandError(f"{self.command} serve ended with {self.process.wait()}")

    def stop(self) -> None:
        """End the service as an administrator would."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """End the service's first process as a power cut would; its children must follow by themselves."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def _line(self, *arguments: str) -> list[str]:
        script = Path(sys.executable).with_name(self.command)
        return [*self.prefix, str(script), *arguments, "--home", str(self.home)]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}


def coordinator(home: Path, **settings: Any) -> Role:
    """The coordinator's role."""
    return Role(command="mammofed-coordinator", home=home, **settings)


def site(home: Path, **settings: Any) -> Role:
    """A site's role. Its training process uses one thread, for the sites share this machine."""
    environment = {"OMP_NUM_THREADS": "1", **settings.pop("environment", {})}
    return Role(command="mammofed-site", home=home, environment=environment, **settings)


@contextlib.contextmanager
def stopped_at_end(*roles: Role) -> Iterator[None]:
    """Stop these roles when the block is left, however it is left."""
    try:
        yield
    finally:
        for role in reversed(roles):
            role.stop()


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that are free on loopback now.

    They are drawn, so that two processes that ask at once get different ones, and lie below those that the
    system gives to outgoing connections.
    """
    for first in random.sample(range(20_000, 32_000 - count), 1_000):
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise CommandError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_until(condition: Any, timeout_s: float, what: str) -> None:
    """Wait for a condition, looking five times a second.

    Raises
    ------
    CommandError
        It did not come true in time.
    """
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise CommandError(f"waited {timeout_s:.0f} s in vain for {what}")
        time.sleep(0.2)
