"""Tables of the site's store. Nothing here names a person: patients and sources are keyed hashes."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Float, ForeignKey, Integer, String, Table

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
    Column("source", String(64), nullable=False, unique=True, comment="keyed hash of instance or file, hex"),
    Column("content", String(64), nullable=False, unique=True, comment="keyed hash of the picture, hex"),
    Column("shard", Integer, nullable=False, comment="place of the record"),
    Column("offset", Integer, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", String(64), comment="of a record that is not sealed, hex; null for a sealed one"),
    Column("height", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("geometry", String(256), nullable=False, comment="how the picture lies in its source, JSON"),
    Column("row_mm", Float, comment="spacing of the prepared picture; null when unknown"),
    Column("column_mm", Float),
    Column("view", String(3)),
    Column("laterality", String(1)),
    Column("manufacturer", String(32)),
    Column("year", Integer),
    Column("density", String(1), comment="a reader's category"),
    Column("mirrored", Integer, nullable=False, comment="the header claims another chest wall"),
    Column("adipose_px", Integer, comment="null without a mask, as the next two"),
    Column("dense_px", Integer),
    Column("pectoral_px", Integer),
    Column("added_at", Float, nullable=False, comment="seconds since the epoch, UTC"),
    CheckConstraint("view IN ('CC', 'MLO')", name="view_known"),
    CheckConstraint("laterality IN ('L', 'R')", name="laterality_known"),
    CheckConstraint("density IN ('a', 'b', 'c', 'd')", name="density_known"),
    CheckConstraint("mirrored IN (0, 1)", name="mirrored_known"),
    CheckConstraint("height > 0 AND width > 0", name="size_positive"),
    CheckConstraint("shard > 0 AND offset >= 0 AND size_bytes > 0", name="place_possible"),
    CheckConstraint("adipose_px >= 0 AND dense_px >= 0 AND pectoral_px >= 0", name="counts_not_negative"),
    CheckConstraint(
        "(adipose_px IS NULL) = (dense_px IS NULL) AND (dense_px IS NULL) = (pectoral_px IS NULL)",
        name="mask_whole",
    ),
    CheckConstraint("(row_mm IS NULL) = (column_mm IS NULL)", name="spacing_whole"),
)

mask = Table(
    "mask",
    metadata,
    Column("number", Integer, primary_key=True, comment="order of arrival; the last of an example holds"),
    Column("example", Integer, ForeignKey("example.number"), nullable=False, index=True),
    Column("kind", String(16), nullable=False, comment="form in which it came"),
    Column("annotator", String(64)),
    Column("drawn_on", String(10), comment="ISO 8601"),
    Column("version", String(64)),
    Column("added_at", Float, nullable=False, comment="seconds since the epoch, UTC"),
    Column("drawn", String(32), comment="names of the segments that it shows whole"),
)

decision = Table(
    "decision",
    metadata,
    Column("source", String(64), primary_key=True, comment="keyed hash of an image that was left out, hex"),
    Column("reason", String(32), nullable=False, comment="code; the newest holds"),
    Column("at", Float, nullable=False, comment="seconds since the epoch, UTC"),
)

draft = Table(
    "draft",
    metadata,
    Column("source", String(64), primary_key=True, comment="keyed hash of the image, hex"),
    Column("labels", String(64), primary_key=True, comment="keyed hash of what a model has drawn, hex"),
)

run_use = Table(
    "run_use",
    metadata,
    Column("run_id", String(63), primary_key=True),
    Column("patient", String(64), primary_key=True, comment="whose examples a run has learnt from"),
    Column("first_at", Float, nullable=False, comment="seconds since the epoch, UTC"),
)

clinical = Table(
    "clinical",
    metadata,
    Column("patient", String(64), primary_key=True, comment="pseudonym, whether there are images or not"),
    Column("age", Integer, comment="in years, when it was added; null is unknown, as in all of the next"),
    Column("family_history", Boolean),
    Column("biopsies", Integer),
    Column("polygenic_z", Float),
    Column("lifetime_risk_percent", Float),
    Column("added_at", Float, nullable=False, comment="seconds since the epoch, UTC"),
)

erasure = Table(
    "erasure",
    metadata,
    Column("shard", Integer, primary_key=True, comment="place of a record that no row names any more"),
    Column("offset", Integer, primary_key=True),
    Column("size_bytes", Integer, nullable=False),
)

survivors = Table(
    "survivors",
    metadata,
    Column("run_id", String(63), primary_key=True),
    Column("round_number", Integer, primary_key=True),
    Column("base_sha256", String(64), primary_key=True, comment="of the round's weights, hex"),
    Column("site_ids", String, nullable=False, comment="whose sum this site may let be read, JSON list"),
    Column("update_sha256", String(64), nullable=False, comment="of this site's update in it, hex"),
    Column("at", Float, nullable=False, comment="seconds since the epoch, UTC"),
)

noisy_round = Table(
    "noisy_round",
    metadata,
    Column("number", Integer, primary_key=True, comment="order of computing"),
    Column("run_id", String(63), nullable=False),
    Column("round_number", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("chance", Float, nullable=False, comment="with which each patient was drawn for a step"),
    Column("multiplier", Float, nullable=False, comment="of the noise"),
    Column("steps", Integer, nullable=False),
    Column("at", Float, nullable=False, comment="seconds since the epoch, UTC"),
)

removal = Table(
    "removal",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", Float, nullable=False, comment="seconds since the epoch, UTC"),
    Column("withdrawn", String(64), unique=True, comment="pseudonym that later imports leave out"),
    Column("patients", Integer, nullable=False),
    Column("examples", Integer, nullable=False),
    Column("runs", String, nullable=False, comment="ids of the runs that had used them, JSON list"),
    CheckConstraint("patients >= 0 AND examples >= 0", name="counts_not_negative"),
)
