"""The shorter way to the weights of an open attempt: what has changed since those before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.store import BIG_INTEGER

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns."""
    op.add_column("round", sa.Column("base_delta_digest", sa.String(64), nullable=True))
    op.add_column("round", sa.Column("base_delta_bytes", BIG_INTEGER, nullable=True))
    op.add_column("round", sa.Column("base_delta_since", sa.String(64), nullable=True))


def downgrade() -> None:
    """Drop them; the weights go whole."""
    for name in ("base_delta_since", "base_delta_bytes", "base_delta_digest"):
        op.drop_column("round", name)
