"""A site's own layers for the final weights of runs, and what it has measured with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and add the column."""
    op.create_table(
        "personal_model",
        sa.Column("run_id", sa.String(63), nullable=False),
        sa.Column("weights_sha256", sa.String(64), nullable=False),
        sa.Column("data", sa.String(128), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("before", sa.Float, nullable=True),
        sa.Column("after", sa.Float, nullable=True),
        sa.Column("layers", sa.LargeBinary, nullable=True),
        sa.Column("sha256", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name="pk_personal_model"),
        sa.CheckConstraint("(layers IS NULL) = (sha256 IS NULL)", name="ck_personal_model_layers_whole"),
    )
    op.add_column("evaluation", sa.Column("personal", sa.Text, nullable=True))


def downgrade() -> None:
    """Drop both."""
    op.drop_column("evaluation", "personal")
    op.drop_table("personal_model")
