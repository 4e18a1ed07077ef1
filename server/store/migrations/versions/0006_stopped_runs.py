"""When a run was stopped by a person, and when it was last resumed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS = ("stopped_at", "resumed_at")


def upgrade() -> None:
    """Add columns: rebuilding `run` for another state would orphan the rounds that refer to it."""
    for name in COLUMNS:
        op.add_column("run", sa.Column(name, sa.Float(), nullable=True))


def downgrade() -> None:
    """Drop them; a stopped run is then one that has failed."""
    for name in COLUMNS:
        op.drop_column("run", name)
