"""What models have drawn, so that it is not taken for a reader's work."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of drafts."""
    op.create_table(
        "draft",
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("labels", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("source", "labels", name="pk_draft"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("draft")
