"""Alerts, and the notices of them that are still to be sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

BIG_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "alert",
        sa.Column("alert_id", BIG_INTEGER, nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("rule", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("raised_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float()),
        sa.Column("acknowledged_at", sa.Float()),
        sa.Column("acknowledged_by", sa.String(80)),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_alert")),
    )
    op.create_index(op.f("ix_alert_key"), "alert", ["key"])
    op.create_table(
        "notice",
        sa.Column("alert_id", BIG_INTEGER, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("sent_at", sa.Float()),
        sa.Column("dropped_at", sa.Float()),
        sa.CheckConstraint("kind IN ('raised', 'ended')", name=op.f("ck_notice_kind")),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.alert_id"], name=op.f("fk_notice_alert_id_alert")),
        sa.PrimaryKeyConstraint("alert_id", "kind", "channel", name=op.f("pk_notice")),
    )


def downgrade() -> None:
    """Drop them: an older version raises none."""
    op.drop_table("notice")
    op.drop_index(op.f("ix_alert_key"), "alert")
    op.drop_table("alert")
