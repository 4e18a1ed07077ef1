"""Plans that were offered to this site, and what it has stated to the coordinator."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "plan",
        sa.Column("run_id", sa.String(63), nullable=False),
        sa.Column("plan_sha256", sa.String(64), nullable=False),
        sa.Column("plan_toml", sa.Text, nullable=False),
        sa.Column("bundle_sha256", sa.String(64), nullable=False),
        sa.Column("offer", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("rules", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("decided_by", sa.String(80)),
        sa.Column("received_at", sa.Float, nullable=False),
        sa.Column("decided_at", sa.Float),
        sa.PrimaryKeyConstraint("run_id", name="pk_plan"),
        sa.CheckConstraint(
            "state IN ('waiting', 'barred', 'approved', 'rejected', 'over')", name="ck_plan_state_known"
        ),
    )
    op.create_table(
        "statement",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("run_id", sa.String(63)),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("delivered_at", sa.Float),
        sa.PrimaryKeyConstraint("number", name="pk_statement"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("statement")
    op.drop_table("plan")
