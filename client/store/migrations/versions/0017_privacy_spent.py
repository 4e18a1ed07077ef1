"""The steps that a site has taken under noise."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "noisy_round",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("run_id", sa.String(63), nullable=False),
        sa.Column("round_number", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("chance", sa.Float, nullable=False),
        sa.Column("multiplier", sa.Float, nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_noisy_round"),
    )


def downgrade() -> None:
    """Drop it: what was spent is forgotten."""
    op.drop_table("noisy_round")
