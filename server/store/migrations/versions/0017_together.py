"""What the sites of an attempt tell together, where none of them tells it alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; what was recorded before has none."""
    op.add_column("round", sa.Column("together", sa.Text()))


def downgrade() -> None:
    """Drop it: an older version asks no site for it."""
    op.drop_column("round", "together")
