"""The audit log, which takes in what was in `event`; the sites' checkpoints of theirs; and persons."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

import shared.audit.schema
import shared.persons.schema
from shared.audit.chain import GENESIS, AuditLine, seal

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, and chain the old events in the place of their own table."""
    connection = op.get_bind()
    shared.audit.schema.create_first_version(connection)
    shared.persons.schema.create_first_version(connection)
    previous = GENESIS
    events = connection.execute(sa.text("SELECT * FROM event ORDER BY event_id")).mappings().all()
    for sequence, event in enumerate(events, start=1):
        line = seal(
            AuditLine(
                sequence=sequence,
                at_ms=round(event["at"] * 1000),
                actor=event["actor"],
                name=event["name"],
                subject=event["subject"],
                details=json.loads(event["details"]),
                previous=previous,
                hash="",
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO audit (sequence, at_ms, actor, name, subject, details, previous, hash)"
                " VALUES (:sequence, :at_ms, :actor, :name, :subject, :details, :previous, :hash)"
            ),
            {
                "sequence": line.sequence,
                "at_ms": line.at_ms,
                "actor": line.actor,
                "name": line.name,
                "subject": line.subject,
                "details": event["details"],
                "previous": line.previous,
                "hash": line.hash,
            },
        )
        previous = line.hash
    op.drop_table("event")


def downgrade() -> None:
    """Drop them; the lines go back to where the old events were."""
    connection = op.get_bind()
    op.create_table(
        "event",
        sa.Column("event_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=48), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_event")),
    )
    connection.execute(
        sa.text("INSERT INTO event SELECT sequence, at_ms / 1000.0, actor, name, subject, details FROM audit")
    )
    shared.persons.schema.drop_first_version(connection)
    shared.audit.schema.drop_first_version(connection)
