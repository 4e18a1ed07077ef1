"""A ledger line names what a message holds and why it may leave; also of messages outside of runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the ledger anew around its old lines, which tell how many tensors but not which."""
    op.rename_table("ledger", "old_ledger")
    op.create_table(
        "ledger",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("run_id", sa.String(63)),
        sa.Column("round_number", sa.Integer),
        sa.Column("attempt", sa.Integer),
        sa.Column("phase", sa.String(16)),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("rule", sa.String(48), nullable=False),
        sa.Column("names", sa.Text, nullable=False),
        sa.Column("tensors", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_ledger"),
    )
    op.create_index("ix_ledger_run_id", "ledger", ["run_id"])
    op.execute(
        "INSERT INTO ledger SELECT number, at, run_id, round_number, attempt, phase, kind,"
        " 'not written down', '[]', '{}', size_bytes, sha256 FROM old_ledger"
    )
    op.drop_table("old_ledger")
    for deed in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER ledger_no_{deed.lower()} BEFORE {deed} ON ledger"
            " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        )


def downgrade() -> None:
    """The ledger as it was, without what it could not hold."""
    op.rename_table("ledger", "new_ledger")
    op.drop_index("ix_ledger_run_id", "new_ledger")
    op.create_table(
        "ledger",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("run_id", sa.String(63), nullable=False),
        sa.Column("round_number", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("tensors", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_ledger"),
        sa.CheckConstraint("kind IN ('update', 'contribution', 'refusal')", name="ck_ledger_kind_known"),
    )
    op.execute(
        "INSERT INTO ledger SELECT number, at, run_id, round_number, attempt, phase, kind, 0, size_bytes,"
        " sha256 FROM new_ledger WHERE kind IN ('update', 'contribution', 'refusal')"
    )
    op.drop_table("new_ledger")
