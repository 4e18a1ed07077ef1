"""What makes PostgreSQL a store like SQLite: one writer at a time, and texts in the order of their bytes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError

from shared.errors import ConfigError

CONNECT_TIMEOUT_S = 10

_WRITE_LOCK = 5_577_006_791
"""Which advisory lock of a database is its write lock: a number of ours that means nothing else."""

_TAKE_WRITE_LOCK = f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})"
_READING = frozenset({"SELECT", "SHOW"})
_LOCKED = "mammofed holds the write lock"


def postgresql_engine(address: str, *, lock_timeout_s: int) -> Engine:
    """An engine for a database at `postgresql://...`; the first connection is not made yet.

    As in SQLite, a transaction that writes holds off every other that writes, from its first write on, and
    each of its statements sees what was committed before that statement began.

    Raises
    ------
    ConfigError
        The address is none, or there is no driver for PostgreSQL here.
    """
    try:
        engine = create_engine(
            _url(address),
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,  # the server may have been started anew since
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "client_encoding": "utf8"},
        )
    except ImportError as error:
        raise ConfigError(
            "The driver for PostgreSQL is not installed.", "Install `mammofed[server,postgresql]`."
        ) from error

    @event.listens_for(engine, "connect")
    def limit_waiting(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"SET lock_timeout = '{lock_timeout_s}s'")
        cursor.close()
        connection.commit()

    event.listen(engine, "begin", _forget_lock)
    event.listen(engine, "before_cursor_execute", _lock_before_writing)
    return engine


def prepare_database(connection: Connection) -> None:
    """Look whether the database is fit for a store, and hold its write lock from before the first look at it.

    Raises
    ------
    ConfigError
        It would order texts otherwise than SQLite, or cannot keep every text.
    """
    connection.execute(text(_TAKE_WRITE_LOCK))
    in_order_of_bytes = connection.execute(text("SELECT 'B' < 'a' AND 'a-b' < 'aa'")).scalar_one()
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if not in_order_of_bytes or encoding != "UTF8":
        raise ConfigError(
            "The database does not keep texts in UTF-8 and in the order of their bytes.",
            "Make another: `CREATE DATABASE ... TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'`.",
        )


def _url(address: str) -> URL:
    try:
        return make_url(address).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        # What was raised may quote the address, and with it a password.
        raise ConfigError(
            "The address of the database is not one.", "Write it as `postgresql://USER:PASSWORD@HOST/NAME`."
        ) from None


def _forget_lock(connection: Connection) -> None:
    connection.info.pop(_LOCKED, None)


def _lock_before_writing(
    connection: Connection,
    cursor: Any,
    statement: str,
    _parameters: object,
    _context: object,
    _executemany: bool,
) -> None:
    if _LOCKED in connection.info or statement.split(maxsplit=1)[0].upper() in _READING:
        return
    # A statement of its own: the one that follows sees all that was committed before the lock was got.
    cursor.execute(_TAKE_WRITE_LOCK)
    connection.info[_LOCKED] = True
