"""Published models as a site has heard of them, and which of them it has taken into use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "known_model",
        sa.Column("model_id", sa.String(80), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("manifest_sha256", sa.String(64), nullable=False),
        sa.Column("manifest_bytes", sa.Integer, nullable=False),
        sa.Column("signature_sha256", sa.String(64), nullable=False),
        sa.Column("signature_bytes", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("model_id", name="pk_known_model"),
        sa.UniqueConstraint("manifest_sha256", name="uq_known_model_manifest_sha256"),
        sa.CheckConstraint(
            "state IN ('candidate', 'released', 'revoked')", name="ck_known_model_state_known"
        ),
    )
    op.create_table(
        "installed_model",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("model_id", sa.String(80), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("withdrawn_at", sa.Float, nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_installed_model"),
    )


def downgrade() -> None:
    """Drop them: an older version is given a model's folder."""
    op.drop_table("installed_model")
    op.drop_table("known_model")
