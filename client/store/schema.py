"""Tables of the site's store. Nothing here names a person: patients and sources are keyed hashes."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Float, ForeignKey, Integer, String, Table

from shared.store import new_metadata

metadata = new_metadata()

patient = Table(
    "patient",
    metadata,
    Column("pseudonym", String(64), primary_key=True, comment="HMAC-SHA256 under the site's key, hex"),
    Column("part", String(10), nullable=False, comment="fixed for good when the first image comes in"),
    CheckConstraint("part IN ('train', 'validation', 'test')", name="part_known"),
)

example = Table(
    "example",
    metadata,
    Column("number", Integer, primary_key=True, comment="order of arrival"),
    Column("example_id", String(32), nullable=False, unique=True, comment="random"),
    Column("patient", String(64), ForeignKey("patient.pseudonym"), nullable=False, index=True),
    Column(
        "source", String(64), nullable=False, unique=True, comment="HMAC-SHA256 of the instance or file, hex"
    ),
    Column("sha256", String(64), nullable=False, comment="of the stored arrays' file, hex"),
    Column("height", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("row_mm", Float, comment="spacing of the prepared picture; null when unknown"),
    Column("column_mm", Float),
    Column("view", String(3)),
    Column("laterality", String(1)),
    Column("manufacturer", String(32)),
    Column("adipose_px", Integer, nullable=False),
    Column("dense_px", Integer, nullable=False),
    Column("pectoral_px", Integer, nullable=False),
    Column("added_at", Float, nullable=False, comment="seconds since the epoch, UTC"),
    CheckConstraint("view IN ('CC', 'MLO')", name="view_known"),
    CheckConstraint("laterality IN ('L', 'R')", name="laterality_known"),
    CheckConstraint("height > 0 AND width > 0", name="size_positive"),
    CheckConstraint("adipose_px >= 0 AND dense_px >= 0 AND pectoral_px >= 0", name="counts_not_negative"),
    CheckConstraint("(row_mm IS NULL) = (column_mm IS NULL)", name="spacing_whole"),
)
