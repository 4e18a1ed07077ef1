"""The weights that a run starts from, where its plan names them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no plan has named any so far."""
    op.add_column("run", sa.Column("initial_digest", sa.String(64), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("run", "initial_digest")
