"""What every test leaves as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

if TYPE_CHECKING:
    from tests.postgresql import Postgresql


UMASK = os.umask(0o022)
os.umask(UMASK)


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    """A command line that is called in this process, by a fixture too, makes new files its owner's alone."""
    os.umask(UMASK)
    yield
    os.umask(UMASK)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """One server for all tests that need one."""
    pytest.importorskip("psycopg", reason="the driver for PostgreSQL is not installed")
    from tests.postgresql import binaries, running_postgresql

    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with running_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[SecretStr | None]:
    """Where a coordinator has its state: SQLite in its home, or an empty database in PostgreSQL."""
    if request.param == "sqlite":
        yield None
    else:
        with request.getfixturevalue("postgresql").new_database() as address:
            yield address
