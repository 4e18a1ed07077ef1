"""Tables of the audit log, the same at every role, and the triggers that let them grow alone.

The triggers stop mistakes and casual edits. Whoever owns the file can drop them; the other side's checkpoints
are what finds that out.
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from shared.store import new_metadata

_own_metadata = new_metadata()

audit = Table(
    "audit",
    _own_metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", Integer, nullable=False),
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
    Column("number", Integer, primary_key=True),
    Column("side", String(63), nullable=False, index=True),
    Column("sequence", Integer, nullable=False),
    Column("head", String(64), nullable=False),
    Column("at_ms", Integer, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("kept_at_ms", Integer, nullable=False),
)


def declare_audit(metadata: MetaData) -> None:
    """Make the tables part of a role's schema."""
    for table in (audit, audit_checkpoint):
        table.to_metadata(metadata)


_FIRST_VERSION = (
    """
    CREATE TABLE audit (
        sequence INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
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
        number INTEGER NOT NULL,
        side VARCHAR(63) NOT NULL,
        sequence INTEGER NOT NULL,
        head VARCHAR(64) NOT NULL,
        at_ms INTEGER NOT NULL,
        envelope BLOB NOT NULL,
        kept_at_ms INTEGER NOT NULL,
        CONSTRAINT pk_audit_checkpoint PRIMARY KEY (number)
    )
    """,
    "CREATE INDEX ix_audit_checkpoint_side ON audit_checkpoint (side)",
    # INSERT OR REPLACE deletes what is in its way without asking the triggers of DELETE: a line may only come
    # after the last one, a checkpoint only where none is.
    """
    CREATE TRIGGER audit_grows_at_its_end BEFORE INSERT ON audit
    WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM audit)
        OR NEW.previous IS NOT
            coalesce((SELECT hash FROM audit ORDER BY sequence DESC LIMIT 1), printf('%064d', 0))
    BEGIN SELECT RAISE(ABORT, 'a line of the audit log follows the last one'); END
    """,
    """
    CREATE TRIGGER audit_checkpoint_is_new BEFORE INSERT ON audit_checkpoint
    WHEN EXISTS (SELECT 1 FROM audit_checkpoint WHERE number = NEW.number)
    BEGIN SELECT RAISE(ABORT, 'a checkpoint is never replaced'); END
    """,
    """
    CREATE TRIGGER audit_is_not_updated BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_checkpoint_is_not_updated BEFORE UPDATE ON audit_checkpoint
    BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END
    """,
    """
    CREATE TRIGGER audit_checkpoint_is_not_deleted BEFORE DELETE ON audit_checkpoint
    BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END
    """,
)


def create_first_version(connection: Connection) -> None:
    """What a role's migration does to get a log. Never edited: a change of the tables is a new function."""
    for statement in _FIRST_VERSION:
        connection.execute(text(statement))


def drop_first_version(connection: Connection) -> None:
    """Take it back; triggers and indexes go with their tables."""
    for table in ("audit_checkpoint", "audit"):
        connection.execute(text(f"DROP TABLE {table}"))
