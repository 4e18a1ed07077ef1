"""What the evaluation of each published model has shown, as this site has heard."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("known_model", sa.Column("supplements", sa.Text, nullable=False, server_default="{}"))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("known_model", "supplements")
