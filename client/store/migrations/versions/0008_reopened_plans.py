"""The state from which a plan was closed, for a run that is resumed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; of plans that were closed before, it is not known."""
    op.add_column("plan", sa.Column("closed_from", sa.String(16), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("plan", "closed_from")
