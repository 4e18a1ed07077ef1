"""Patients with their part of the split, and their examples."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the catalog's tables."""
    op.create_table(
        "patient",
        sa.Column("pseudonym", sa.String(64), nullable=False),
        sa.Column("part", sa.String(10), nullable=False),
        sa.PrimaryKeyConstraint("pseudonym", name="pk_patient"),
        sa.CheckConstraint("part IN ('train', 'validation', 'test')", name="ck_patient_part_known"),
    )
    op.create_table(
        "example",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("example_id", sa.String(32), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("row_mm", sa.Float),
        sa.Column("column_mm", sa.Float),
        sa.Column("view", sa.String(3)),
        sa.Column("laterality", sa.String(1)),
        sa.Column("manufacturer", sa.String(32)),
        sa.Column("adipose_px", sa.Integer, nullable=False),
        sa.Column("dense_px", sa.Integer, nullable=False),
        sa.Column("pectoral_px", sa.Integer, nullable=False),
        sa.Column("added_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_example"),
        sa.UniqueConstraint("example_id", name="uq_example_example_id"),
        sa.ForeignKeyConstraint(["patient"], ["patient.pseudonym"], name="fk_example_patient_patient"),
        sa.UniqueConstraint("source", name="uq_example_source"),
        sa.CheckConstraint("view IN ('CC', 'MLO')", name="ck_example_view_known"),
        sa.CheckConstraint("laterality IN ('L', 'R')", name="ck_example_laterality_known"),
        sa.CheckConstraint("height > 0 AND width > 0", name="ck_example_size_positive"),
        sa.CheckConstraint(
            "adipose_px >= 0 AND dense_px >= 0 AND pectoral_px >= 0", name="ck_example_counts_not_negative"
        ),
        sa.CheckConstraint("(row_mm IS NULL) = (column_mm IS NULL)", name="ck_example_spacing_whole"),
    )
    op.create_index("ix_example_patient", "example", ["patient"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("example")
    op.drop_table("patient")
