"""Opening a role's relational store: connection settings and migrations.

Each role keeps its own schema (`server/store`, `client/store`) with numbered alembic migrations beside
it; this package is the one place that knows how a database is opened, SQLite or PostgreSQL. Times are stored
as float seconds since the Unix epoch (UTC), so that they mean the same in every database.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import BigInteger, Connection, Engine, Integer, MetaData, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shared.errors import ConfigError, StoreError
from shared.store.postgresql import postgresql_engine, prepare_database

BUSY_TIMEOUT_S = 30
_MIGRATING = threading.Lock()
"""Alembic's context is the process's: two threads that open a store take turns."""

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

BIG_INTEGER = BigInteger().with_variant(Integer(), "sqlite")
"""Of 64 bits everywhere. SQLite's INTEGER has them, and counts up where it is the key."""

RAW_TYPES: Mapping[str, Mapping[str, str]] = {
    "sqlite": {"integer": "INTEGER", "key": "INTEGER NOT NULL", "bytes": "BLOB"},
    "postgresql": {"integer": "BIGINT", "key": "BIGSERIAL NOT NULL", "bytes": "BYTEA"},
}
"""By dialect, what the words in braces of `create_raw` stand for; a key counts up by itself."""


def new_metadata() -> MetaData:
    """An empty schema whose constraints get stable names, as migrations need them."""
    return MetaData(naming_convention=NAMING)


def sqlite_url(file: Path) -> str:
    """The database URL of an SQLite file."""
    return f"sqlite:///{file}"


def open_store(url: str, migrations: Path) -> Engine:
    """Open a database and bring its schema up to date.

    Parameters
    ----------
    url
        SQLAlchemy database URL; it may hold a password, which is in no error.
    migrations
        The role's alembic folder, holding `env.py` and `versions/`.

    Raises
    ------
    StoreError
        The database cannot be opened, written or migrated.
    ConfigError
        The address is none, or the database there is not fit for a store.
    """
    engine = _engine(url)
    try:
        with _MIGRATING, engine.begin() as connection:
            if not _is_sqlite(engine):
                prepare_database(connection)
            command.upgrade(_configured(migrations, connection), "head")
    except (DBAPIError, CommandError) as error:
        raise StoreError(
            "The store cannot be opened or migrated.",
            f"{_what_to_check(engine)} Check also that no other version is using it.",
        ) from error
    return engine


def newest_revision(migrations: Path) -> str:
    """The schema that this version works with."""
    newest = ScriptDirectory.from_config(_configured(migrations)).get_current_head()
    assert newest is not None  # every role has migrations
    return newest


def require_revision(migrations: Path, revision: str) -> None:
    """Return only if this version knows a schema. Raises ConfigError if it does not."""
    known = ScriptDirectory.from_config(_configured(migrations)).walk_revisions()
    if revision not in {each.revision for each in known}:
        raise ConfigError(
            "This version of mammofed does not know that schema.",
            "Give what `store revision` of the version before prints.",
        )


def rewind(url: str, migrations: Path, revision: str) -> None:
    """Bring a database back to a schema that `require_revision` let pass, in one transaction.

    Raises
    ------
    StoreError
        The database refused; it is as it was.
    """
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            command.downgrade(_configured(migrations, connection), revision)
    except (DBAPIError, CommandError) as error:
        raise StoreError("The store cannot be brought back.", _what_to_check(engine)) from error
    finally:
        engine.dispose()


def _configured(migrations: Path, connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.attributes["connection"] = connection
    return config


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy an SQLite database as it stands at one moment, whoever writes it meanwhile.

    Raises
    ------
    StoreError
        A disk or the database refused.
    """
    try:
        with (
            contextlib.closing(sqlite3.connect(source, timeout=BUSY_TIMEOUT_S)) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
    except sqlite3.Error as error:
        raise StoreError("The store cannot be copied.", "Check that no disk is full or read-only.") from error


def create_raw(connection: Connection, statement: str) -> None:
    """Carry out what makes a table, with the words of `RAW_TYPES` in braces."""
    connection.execute(text(statement.format(**RAW_TYPES[connection.dialect.name])))


@contextlib.contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction: committed at the end of the block, rolled back if it is left by an error.

    Raises
    ------
    StoreError
        The database refused to read or write.
    """
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise _refused(engine) from error


def clear_journal(engine: Engine) -> None:
    """Let nothing of deleted rows stay in the journal beside the database, as far as readers permit.

    Raises
    ------
    StoreError
        The database refused.
    """
    if not _is_sqlite(engine):
        return
    try:
        # A checkpoint is no part of a transaction.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    except SQLAlchemyError as error:
        raise _refused(engine) from error


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite:"):
        return postgresql_engine(url, lock_timeout_s=BUSY_TIMEOUT_S)
    engine = create_engine(url)
    event.listen(engine, "connect", _configure_sqlite)
    return engine


def _is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


def _refused(engine: Engine) -> StoreError:
    return StoreError("The store cannot be read or written.", _what_to_check(engine))


def _what_to_check(engine: Engine) -> str:
    if _is_sqlite(engine):
        return "Check that its disk is not full or read-only."
    return "Check that PostgreSQL runs, lets the coordinator in, and has room."


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_S * 1000}")
    cursor.close()
