"""What each site last told of itself outside of runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.store import BIG_INTEGER

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "situation",
        sa.Column("site_id", sa.String(63), nullable=False),
        sa.Column("number", BIG_INTEGER, nullable=False),
        sa.Column(
            "payload", sa.LargeBinary, nullable=False, comment="what the site tells of itself outside of runs"
        ),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
        sa.Column("told_at", sa.Float, nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name="fk_situation_site_id_site"),
        sa.PrimaryKeyConstraint("site_id", name="pk_situation"),
    )


def downgrade() -> None:
    """Drop it: it is shown, and nothing rests on it."""
    op.drop_table("situation")
