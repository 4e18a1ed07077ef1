"""The table of persons, the same at every role. Nobody is ever deleted: the log names them."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Float,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

from shared.store import create_raw, new_metadata

person = Table(
    "person",
    new_metadata(),
    Column("name", String(63), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("token_hash", String(64), nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
    Column("added_at", Float, nullable=False),
    Column("disabled_at", Float),
    UniqueConstraint("token_hash"),
    CheckConstraint("role IN ('viewer', 'operator', 'administrator')", name="role"),
    CheckConstraint("state IN ('active', 'disabled')", name="state"),
    CheckConstraint("(state = 'disabled') = (disabled_at IS NOT NULL)", name="disabled_at"),
)


def declare_persons(metadata: MetaData) -> None:
    """Make the table part of a role's schema."""
    person.to_metadata(metadata)


def create_first_version(connection: Connection) -> None:
    """What a role's migration does to get it. Never edited: a change of the table is a new function."""
    create_raw(
        connection,
        """
            CREATE TABLE person (
                name VARCHAR(63) NOT NULL,
                role VARCHAR(16) NOT NULL,
                state VARCHAR(16) NOT NULL,
                token_hash VARCHAR(64) NOT NULL,
                public_key {bytes} NOT NULL,
                sealed_key {bytes} NOT NULL,
                added_at FLOAT NOT NULL,
                disabled_at FLOAT,
                CONSTRAINT pk_person PRIMARY KEY (name),
                CONSTRAINT uq_person_token_hash UNIQUE (token_hash),
                CONSTRAINT ck_person_role CHECK (role IN ('viewer', 'operator', 'administrator')),
                CONSTRAINT ck_person_state CHECK (state IN ('active', 'disabled')),
                CONSTRAINT ck_person_disabled_at
                    CHECK ((state = 'disabled') = (disabled_at IS NOT NULL))
            )
            """,
    )


def drop_first_version(connection: Connection) -> None:
    """Take it back."""
    connection.execute(text("DROP TABLE person"))
