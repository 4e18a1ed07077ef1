"""Where the coordinator's database stands in its home folder."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from shared.store import open_store, sqlite_url

MIGRATIONS = Path(__file__).parent / "migrations"


def open_coordinator_store(home: Path) -> Engine:
    """Open the coordinator's database, migrated to this version.

    Raises
    ------
    StoreError
        It cannot be opened, written or migrated.
    """
    return open_store(sqlite_url(home / "coordinator.db"), MIGRATIONS)
