"""A real PostgreSQL for tests: on a socket in a folder of its own, ended with the tests that need it."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from pydantic import SecretStr

PASSWORD = "correct-horse-battery"
STARTS_WITHIN_S = 60
ACCOUNT = "postgres"
"""Whose processes they are where the tests are root's: PostgreSQL refuses root."""

FAST = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "200",
}


def binaries() -> Path | None:
    """Where PostgreSQL's programs are; Debian keeps them by version."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


@dataclass(kw_only=True)
class Postgresql:
    """A running server."""

    socket: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def address(self, name: str, *, password: str = PASSWORD) -> SecretStr:
        """Of a database, as the coordinator's settings name it."""
        return SecretStr(f"postgresql://owner:{password}@/{name}?host={self.socket}")

    @contextlib.contextmanager
    def new_database(self, options: str = "") -> Iterator[SecretStr]:
        """An empty database, for as long as the block lasts."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} {options}")
        try:
            yield self.address(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Carry a statement out as the server's administrator."""
        address = self.address(database).get_secret_value()
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(statement.encode())


@contextlib.contextmanager
def running_postgresql() -> Iterator[Postgresql]:
    """A new server without databases."""
    programs = binaries()
    assert programs is not None
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name:
        folder = Path(name)
        password = folder / "password"
        password.write_text(PASSWORD)
        user = None
        if os.geteuid() == 0:
            account = pwd.getpwnam(ACCOUNT)
            user = account.pw_uid
            for path in (folder, password):
                os.chown(path, user, account.pw_gid)
        data = folder / "data"
        subprocess.run(
            [
                *(programs / "initdb", "--pgdata", data, "--username", "owner", "--pwfile", password),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd=folder,
            user=user,
        )
        settings = [f"--{name}={value}" for name, value in FAST.items()]
        log = (folder / "log").open("wb")
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, f"--unix_socket_directories={folder}", *settings],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            user=user,
        )
        try:
            server = Postgresql(socket=folder)
            _wait_until_it_answers(server, process)
            yield server
        finally:
            process.send_signal(2)  # SIGINT: end without waiting for those who are connected
            process.wait(STARTS_WITHIN_S)
            log.close()


def _wait_until_it_answers(server: Postgresql, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            return server.execute("SELECT 1")
        except psycopg.OperationalError:
            assert process.poll() is None, (server.socket / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
