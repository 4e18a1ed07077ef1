"""Figures of rounds and answers, kept for pages of long runs, and an index that counts answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; what was recorded before has none."""
    op.add_column("round", sa.Column("figures", sa.Text()))
    op.add_column("answer", sa.Column("figures", sa.Text()))
    op.create_index("ix_answer_state", "answer", ["run_id", "phase", "number", "attempt", "state", "site_id"])


def downgrade() -> None:
    """Drop them: they follow from what was told."""
    op.drop_index("ix_answer_state", "answer")
    op.drop_column("answer", "figures")
    op.drop_column("round", "figures")
