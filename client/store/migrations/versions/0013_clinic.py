"""What the clinic's DICOM node has to measure and to send."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "clinic_image",
        sa.Column("exam", sa.String(64), nullable=False),
        sa.Column("instance", sa.String(64), nullable=False),
        sa.Column("received_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("exam", "instance", name="pk_clinic_image"),
    )
    op.create_table(
        "clinic_object",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("file", sa.String(64), nullable=False),
        sa.Column("manifest_sha256", sa.String(64), nullable=False),
        sa.Column("made_at", sa.Float, nullable=False),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("not_before", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_clinic_object"),
        sa.UniqueConstraint("file", name="uq_clinic_object_file"),
    )


def downgrade() -> None:
    """Drop them: what waits in them is lost; let it be sent first."""
    op.drop_table("clinic_object")
    op.drop_table("clinic_image")
