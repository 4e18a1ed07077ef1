"""Whose the images and objects are that the clinic's DICOM node keeps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

TABLES = ("clinic_image", "clinic_object")


def upgrade() -> None:
    """Add the column: of what waits already it is not known, so that any patient's removal takes it along."""
    for table in TABLES:
        op.add_column(table, sa.Column("patient", sa.String(64)))


def downgrade() -> None:
    """Drop it."""
    for table in TABLES:
        op.drop_column(table, "patient")
