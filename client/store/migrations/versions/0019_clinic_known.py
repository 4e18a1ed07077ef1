"""Which images the clinic's DICOM node has taken in, so that none is found twice."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "clinic_known",
        sa.Column("instance", sa.String(64), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("instance", name="pk_clinic_known"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("clinic_known")
