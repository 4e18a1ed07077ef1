"""Whether a published model was released to the sites, or revoked, by whom it was asked, and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns: every model so far is a candidate."""
    op.add_column("model", sa.Column("release_asked_by", sa.String(80), nullable=True))
    op.add_column("model", sa.Column("released_at", sa.Float(), nullable=True))
    op.add_column("model", sa.Column("revoked_at", sa.Float(), nullable=True))
    op.add_column("model", sa.Column("revoked_because", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drop them: an older version hands every model out."""
    for name in ("revoked_because", "revoked_at", "released_at", "release_asked_by"):
        op.drop_column("model", name)
