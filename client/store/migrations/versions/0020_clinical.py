"""What the hospital knows of its patients beside their images."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "clinical",
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("age", sa.Integer),
        sa.Column("family_history", sa.Boolean),
        sa.Column("biopsies", sa.Integer),
        sa.Column("polygenic_z", sa.Float),
        sa.Column("lifetime_risk_percent", sa.Float),
        sa.Column("added_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("patient", name="pk_clinical"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("clinical")
