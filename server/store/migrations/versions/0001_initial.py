"""Sites, runs, rounds, answers, models and events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from shared.store import BIG_INTEGER

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the coordinator's tables."""
    op.create_table(
        "event",
        sa.Column("event_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=48), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_event")),
    )
    op.create_table(
        "invitation",
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=63), nullable=False),
        sa.Column("site_name", sa.String(length=63), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("secret_hash", name=op.f("pk_invitation")),
        sa.UniqueConstraint("site_id", name=op.f("uq_invitation_site_id")),
    )
    op.create_table(
        "run",
        sa.Column("run_id", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("plan_sha256", sa.String(length=64), nullable=False),
        sa.Column("plan_toml", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run")),
        sa.CheckConstraint(
            "state IN ('submitted', 'running', 'finished', 'failed')", name=op.f("ck_run_state")
        ),
    )
    op.create_table(
        "site",
        sa.Column("site_id", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("signing_public_key", sa.LargeBinary(), nullable=False),
        sa.Column("node_public_key", sa.Text(), nullable=False),
        sa.Column("node_id", sa.String(length=20), nullable=True),
        sa.Column("certificate_pem", sa.LargeBinary(), nullable=False),
        sa.Column("software_version", sa.String(length=32), nullable=False),
        sa.Column("enrolled_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("site_id", name=op.f("pk_site")),
        sa.CheckConstraint("state IN ('active', 'revoked')", name=op.f("ck_site_state")),
        sa.UniqueConstraint("name", name=op.f("uq_site_name")),
    )
    op.create_table(
        "model",
        sa.Column("model_id", sa.String(length=80), nullable=False),
        sa.Column("run_id", sa.String(length=63), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name=op.f("fk_model_run_id_run")),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_model")),
        sa.UniqueConstraint("run_id", name=op.f("uq_model_run_id")),
    )
    op.create_table(
        "round",
        sa.Column("run_id", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("base_digest", sa.String(length=64), nullable=False),
        sa.Column("base_bytes", BIG_INTEGER, nullable=False),
        sa.Column("aggregate_digest", sa.String(length=64), nullable=True),
        sa.Column("aggregate_bytes", BIG_INTEGER, nullable=True),
        sa.Column("opened_at", sa.Float(), nullable=False),
        sa.Column("deadline", sa.Float(), nullable=False),
        sa.Column("closed_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["run.run_id"], name=op.f("fk_round_run_id_run")),
        sa.PrimaryKeyConstraint("run_id", "number", "attempt", "phase", name=op.f("pk_round")),
        sa.CheckConstraint("number >= 0", name=op.f("ck_round_number")),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_round_attempt")),
        sa.CheckConstraint("state IN ('open', 'aggregated', 'void')", name=op.f("ck_round_state")),
    )
    op.create_table(
        "answer",
        sa.Column("run_id", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("site_id", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("envelope", sa.LargeBinary(), nullable=True),
        sa.Column("payload", sa.Text(), nullable=True),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("answered_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id", "number", "attempt", "phase"],
            ["round.run_id", "round.number", "round.attempt", "round.phase"],
            name=op.f("fk_answer_run_id_round"),
        ),
        sa.ForeignKeyConstraint(["site_id"], ["site.site_id"], name=op.f("fk_answer_site_id_site")),
        sa.PrimaryKeyConstraint("run_id", "number", "attempt", "phase", "site_id", name=op.f("pk_answer")),
        sa.CheckConstraint(
            "state IN ('asked', 'admitted', 'rejected', 'refused', 'lost')", name=op.f("ck_answer_state")
        ),
    )
    op.create_table(
        "model_file",
        sa.Column("model_id", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", BIG_INTEGER, nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.model_id"], name=op.f("fk_model_file_model_id_model")),
        sa.PrimaryKeyConstraint("model_id", "name", name=op.f("pk_model_file")),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("model_file")
    op.drop_table("answer")
    op.drop_table("round")
    op.drop_table("model")
    op.drop_table("site")
    op.drop_table("run")
    op.drop_table("invitation")
    op.drop_table("event")
