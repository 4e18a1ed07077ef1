"""Where the coordinator's database is: in its home folder, or a PostgreSQL that its settings name."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import Engine

from shared.store import open_store, sqlite_url

MIGRATIONS = Path(__file__).parent / "migrations"
DATABASE_FILE = "coordinator.db"
"""In the home, where the state is in SQLite."""


def open_coordinator_store(home: Path, database: SecretStr | None = None) -> Engine:
    """Open the coordinator's database, migrated to this version.

    Parameters
    ----------
    database
        Address of a database in PostgreSQL; None is SQLite in the home.

    Raises
    ------
    StoreError
        It cannot be opened, written or migrated.
    ConfigError
        The database that is named is none that can be used.
    """
    return open_store(store_url(home, database), MIGRATIONS)


def store_url(home: Path, database: SecretStr | None) -> str:
    """The database's URL, which may hold a password."""
    return sqlite_url(home / DATABASE_FILE) if database is None else database.get_secret_value()
