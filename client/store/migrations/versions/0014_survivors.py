"""Whose sum a site has let be read in each round under secure aggregation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "survivors",
        sa.Column("run_id", sa.String(63), nullable=False),
        sa.Column("round_number", sa.Integer, nullable=False),
        sa.Column("base_sha256", sa.String(64), nullable=False),
        sa.Column("site_ids", sa.String, nullable=False),
        sa.Column("update_sha256", sa.String(64), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "round_number", "base_sha256", name="pk_survivors"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("survivors")
