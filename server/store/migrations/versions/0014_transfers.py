"""When a site has fetched the weights of an attempt, and began to send its update."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of what was before nothing is known."""
    op.add_column("answer", sa.Column("fetched_at", sa.Float()))
    op.add_column("answer", sa.Column("sending_at", sa.Float()))


def downgrade() -> None:
    """Drop them: they are shown, and nothing rests on them."""
    op.drop_column("answer", "sending_at")
    op.drop_column("answer", "fetched_at")
