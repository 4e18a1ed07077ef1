"""Patients with their part of the split, their examples and masks, what was left out, used and removed."""

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
        sa.Column("content", sa.String(64), nullable=False),
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("offset", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("geometry", sa.String(256), nullable=False),
        sa.Column("row_mm", sa.Float),
        sa.Column("column_mm", sa.Float),
        sa.Column("view", sa.String(3)),
        sa.Column("laterality", sa.String(1)),
        sa.Column("manufacturer", sa.String(32)),
        sa.Column("year", sa.Integer),
        sa.Column("density", sa.String(1)),
        sa.Column("mirrored", sa.Integer, nullable=False),
        sa.Column("adipose_px", sa.Integer),
        sa.Column("dense_px", sa.Integer),
        sa.Column("pectoral_px", sa.Integer),
        sa.Column("added_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_example"),
        sa.UniqueConstraint("example_id", name="uq_example_example_id"),
        sa.ForeignKeyConstraint(["patient"], ["patient.pseudonym"], name="fk_example_patient_patient"),
        sa.UniqueConstraint("source", name="uq_example_source"),
        sa.UniqueConstraint("content", name="uq_example_content"),
        sa.CheckConstraint("view IN ('CC', 'MLO')", name="ck_example_view_known"),
        sa.CheckConstraint("laterality IN ('L', 'R')", name="ck_example_laterality_known"),
        sa.CheckConstraint("density IN ('a', 'b', 'c', 'd')", name="ck_example_density_known"),
        sa.CheckConstraint("mirrored IN (0, 1)", name="ck_example_mirrored_known"),
        sa.CheckConstraint("height > 0 AND width > 0", name="ck_example_size_positive"),
        sa.CheckConstraint("shard > 0 AND offset >= 0 AND size_bytes > 0", name="ck_example_place_possible"),
        sa.CheckConstraint(
            "adipose_px >= 0 AND dense_px >= 0 AND pectoral_px >= 0", name="ck_example_counts_not_negative"
        ),
        sa.CheckConstraint(
            "(adipose_px IS NULL) = (dense_px IS NULL) AND (dense_px IS NULL) = (pectoral_px IS NULL)",
            name="ck_example_mask_whole",
        ),
        sa.CheckConstraint("(row_mm IS NULL) = (column_mm IS NULL)", name="ck_example_spacing_whole"),
    )
    op.create_index("ix_example_patient", "example", ["patient"])
    op.create_table(
        "mask",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("example", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("annotator", sa.String(64)),
        sa.Column("drawn_on", sa.String(10)),
        sa.Column("version", sa.String(64)),
        sa.Column("added_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_mask"),
        sa.ForeignKeyConstraint(["example"], ["example.number"], name="fk_mask_example_example"),
    )
    op.create_index("ix_mask_example", "mask", ["example"])
    op.create_table(
        "decision",
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("source", name="pk_decision"),
    )
    op.create_table(
        "run_use",
        sa.Column("run_id", sa.String(63), nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("first_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "patient", name="pk_run_use"),
    )
    op.create_table(
        "erasure",
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("offset", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("shard", "offset", name="pk_erasure"),
    )
    op.create_table(
        "removal",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("withdrawn", sa.String(64)),
        sa.Column("patients", sa.Integer, nullable=False),
        sa.Column("examples", sa.Integer, nullable=False),
        sa.Column("runs", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_removal"),
        sa.UniqueConstraint("withdrawn", name="uq_removal_withdrawn"),
        sa.CheckConstraint("patients >= 0 AND examples >= 0", name="ck_removal_counts_not_negative"),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("removal", "erasure", "run_use", "decision", "mask", "example", "patient"):
        op.drop_table(table)
