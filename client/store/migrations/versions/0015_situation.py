"""What a site last told of itself outside of runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "situation",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("training", sa.Integer, nullable=False),
        sa.Column("validation", sa.Integer, nullable=False),
        sa.Column("test", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_situation"),
    )


def downgrade() -> None:
    """Drop it: the next one is told anew."""
    op.drop_table("situation")
