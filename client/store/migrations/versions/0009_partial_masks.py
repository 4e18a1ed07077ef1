"""A mask may show some segments alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what a mask shows; until now, all of it."""
    op.add_column("mask", sa.Column("drawn", sa.String(32), nullable=True))
    op.execute("UPDATE mask SET drawn = 'breast dense pectoral'")


def downgrade() -> None:
    """Drop it."""
    op.drop_column("mask", "drawn")
