"""What a site has measured of models, and over which images it has told of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables; of what was told before, it is not known over which images."""
    op.create_table(
        "image_set",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("part", sa.String(10), nullable=False),
        sa.Column("images", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_image_set"),
    )
    op.create_table(
        "evaluation",
        sa.Column("run_id", sa.String(63), nullable=False),
        sa.Column("round_number", sa.Integer, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("told", sa.Integer, nullable=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "round_number", "phase", name="pk_evaluation"),
        sa.ForeignKeyConstraint(["told"], ["image_set.number"], name="fk_evaluation_told_image_set"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("evaluation")
    op.drop_table("image_set")
