"""Which sites approve of which run's plan, and which sites have paused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.store import BIG_INTEGER

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables; a site that takes part in an open run is asked for its approval."""
    op.create_table(
        "consent",
        sa.Column("run_id", sa.String(63), nullable=False),
        sa.Column("site_id", sa.String(63), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("number", BIG_INTEGER, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("envelope", sa.LargeBinary),
        sa.Column("offered_at", sa.Float, nullable=False),
        sa.Column("decided_at", sa.Float),
        sa.PrimaryKeyConstraint("run_id", "site_id", name=op.f("pk_consent")),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name=op.f("fk_consent_run_id_run")),
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name=op.f("fk_consent_site_id_site")),
        sa.CheckConstraint("state IN ('offered', 'approved', 'refused')", name=op.f("ck_consent_state")),
    )
    op.create_table(
        "presence",
        sa.Column("site_id", sa.String(63), nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("number", BIG_INTEGER, nullable=False),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
        sa.Column("stated_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("site_id", name=op.f("pk_presence")),
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name=op.f("fk_presence_site_id_site")),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("presence")
    op.drop_table("consent")
