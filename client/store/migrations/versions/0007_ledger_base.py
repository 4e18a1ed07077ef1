"""A ledger line names the weights that its message was made from, so that none take their place."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; older lines do not know."""
    op.add_column("ledger", sa.Column("base_sha256", sa.String(64)))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("ledger", "base_sha256")
