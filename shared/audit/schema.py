"""Tables of the audit log, the same at every role; `shared.audit.triggers` lets them grow alone."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from shared.audit.triggers import create_triggers, drop_functions
from shared.store import BIG_INTEGER, create_raw, new_metadata

_own_metadata = new_metadata()

audit = Table(
    "audit",
    _own_metadata,
    Column("sequence", BIG_INTEGER, primary_key=True, autoincrement=False),
    Column("at_ms", BIG_INTEGER, nullable=False),
    Column("actor", String(80), nullable=False),
    Column("name", String(48), nullable=False),
    Column("subject", String(80), nullable=False, index=True),
    Column("details", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    CheckConstraint("sequence >= 1", name="sequence"),
    UniqueConstraint("previous"),
)

audit_checkpoint = Table(
    "audit_checkpoint",
    _own_metadata,
    Column("number", BIG_INTEGER, primary_key=True),
    Column("side", String(63), nullable=False, index=True),
    Column("sequence", BIG_INTEGER, nullable=False),
    Column("head", String(64), nullable=False),
    Column("at_ms", BIG_INTEGER, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("kept_at_ms", BIG_INTEGER, nullable=False),
)


def declare_audit(metadata: MetaData) -> None:
    """Make the tables part of a role's schema."""
    for table in (audit, audit_checkpoint):
        table.to_metadata(metadata)


_FIRST_TABLES = (
    """
    CREATE TABLE audit (
        sequence {integer} NOT NULL,
        at_ms {integer} NOT NULL,
        actor VARCHAR(80) NOT NULL,
        name VARCHAR(48) NOT NULL,
        subject VARCHAR(80) NOT NULL,
        details TEXT NOT NULL,
        previous VARCHAR(64) NOT NULL,
        hash VARCHAR(64) NOT NULL,
        CONSTRAINT pk_audit PRIMARY KEY (sequence),
        CONSTRAINT ck_audit_sequence CHECK (sequence >= 1),
        CONSTRAINT uq_audit_previous UNIQUE (previous)
    )
    """,
    "CREATE INDEX ix_audit_subject ON audit (subject)",
    """
    CREATE TABLE audit_checkpoint (
        number {key},
        side VARCHAR(63) NOT NULL,
        sequence {integer} NOT NULL,
        head VARCHAR(64) NOT NULL,
        at_ms {integer} NOT NULL,
        envelope {bytes} NOT NULL,
        kept_at_ms {integer} NOT NULL,
        CONSTRAINT pk_audit_checkpoint PRIMARY KEY (number)
    )
    """,
    "CREATE INDEX ix_audit_checkpoint_side ON audit_checkpoint (side)",
)


def create_first_version(connection: Connection) -> None:
    """What a role's migration does to get a log. Never edited: a change of the tables is a new function."""
    for statement in _FIRST_TABLES:
        create_raw(connection, statement)
    create_triggers(connection)


def drop_first_version(connection: Connection) -> None:
    """Take it back; triggers and indexes go with their tables."""
    for table in ("audit_checkpoint", "audit"):
        connection.execute(text(f"DROP TABLE {table}"))
    drop_functions(connection)
