"""The store of either role, for what both sides share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from client.store.opening import MIGRATIONS
from server.store.opening import open_coordinator_store
from shared.store import open_store, sqlite_url


@pytest.fixture(params=["coordinator", "coordinator in PostgreSQL", "site"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "site":
        yield open_store(sqlite_url(tmp_path / "site.db"), MIGRATIONS)
    elif request.param == "coordinator":
        yield open_coordinator_store(tmp_path)
    else:
        with request.getfixturevalue("postgresql").new_database() as address:
            yield open_coordinator_store(tmp_path, address)
