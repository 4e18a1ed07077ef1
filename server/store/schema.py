"""The coordinator's tables.

Times are seconds since the Unix epoch. A site is known by its site id; its Flower node id, keys and
certificate are columns that may change. A hospital that waits for approval, or did not get it, is a row of
`application`; `site` holds those that were let in.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from server.lifecycle import AnswerState, ConsentState, RoundState, RunState, SiteState
from shared.store import BIG_INTEGER, new_metadata

metadata = new_metadata()


def _one_of(
    column: str, states: Iterable[AnswerState | ConsentState | RoundState | RunState | SiteState]
) -> CheckConstraint:
    values = ", ".join(f"'{state.value}'" for state in states)
    return CheckConstraint(f"{column} IN ({values})", name=column)


invitation = Table(
    "invitation",
    metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column("site_id", String(63), nullable=False, unique=True),
    Column("site_name", String(63), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
    Column("withdrawn_at", Float),
    Column("by_hand", Boolean(create_constraint=False), nullable=False, server_default=false()),
)

application = Table(
    "application",
    metadata,
    Column("secret_hash", String(64), ForeignKey("invitation.secret_hash"), primary_key=True),
    Column("state", String(16), _one_of("state", (SiteState.PENDING, SiteState.REJECTED)), nullable=False),
    Column("csr_pem", LargeBinary, nullable=False),
    Column("signing_public_key", LargeBinary, nullable=False),
    Column("node_public_key", Text, nullable=False),
    Column("software_version", String(64), nullable=False),
    Column("asked_at", Float, nullable=False),
)

site = Table(
    "site",
    metadata,
    Column("site_id", String(63), primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("state", String(16), _one_of("state", (SiteState.ACTIVE, SiteState.REVOKED)), nullable=False),
    Column("signing_public_key", LargeBinary, nullable=False),
    Column("node_public_key", Text, nullable=False),
    Column("node_id", String(20)),
    Column("certificate_pem", LargeBinary, nullable=False),
    Column("software_version", String(32), nullable=False),
    Column("enrolled_at", Float, nullable=False),
    Column("renewed_at", Float),
    Column("certificate_seen", Boolean(create_constraint=False), nullable=False, server_default=false()),
    Column("previous_certificate_pem", LargeBinary),
    Column("previous_signing_public_key", LargeBinary),
    Column("next_node_public_key", Text),
    Column("next_node_id", String(20)),
)

run = Table(
    "run",
    metadata,
    Column("run_id", String(63), primary_key=True),
    Column("name", String(63), nullable=False),
    Column("plan_sha256", String(64), nullable=False),
    Column("plan_toml", Text, nullable=False),
    # A stopped run is kept as one that has failed, with the time at which it was stopped.
    Column(
        "state",
        String(16),
        _one_of("state", (state for state in RunState if state is not RunState.STOPPED)),
        nullable=False,
    ),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Column("failure", Text),
    Column("stopped_at", Float),
    Column("resumed_at", Float),
    Column("initial_digest", String(64)),
)

consent = Table(
    "consent",
    metadata,
    Column("run_id", String(63), ForeignKey("run.run_id"), primary_key=True),
    Column("site_id", String(63), ForeignKey("site.site_id"), primary_key=True),
    Column("state", String(16), _one_of("state", ConsentState), nullable=False),
    Column("number", BIG_INTEGER, nullable=False),
    Column("reason", Text, nullable=False),
    Column("envelope", LargeBinary),
    Column("offered_at", Float, nullable=False),
    Column("decided_at", Float),
)

presence = Table(
    "presence",
    metadata,
    Column("site_id", String(63), ForeignKey("site.site_id"), primary_key=True),
    Column("paused", Boolean(create_constraint=False), nullable=False),
    Column("number", BIG_INTEGER, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("stated_at", Float, nullable=False),
)

situation = Table(
    "situation",
    metadata,
    Column("site_id", String(63), ForeignKey("site.site_id"), primary_key=True),
    Column("number", BIG_INTEGER, nullable=False),
    Column("payload", LargeBinary, nullable=False, comment="what the site tells of itself outside of runs"),
    Column("envelope", LargeBinary, nullable=False),
    Column("told_at", Float, nullable=False),
)

round_ = Table(
    "round",
    metadata,
    Column("run_id", String(63), ForeignKey("run.run_id"), primary_key=True),
    Column("number", Integer, CheckConstraint("number >= 0", name="number"), primary_key=True),
    Column("attempt", Integer, CheckConstraint("attempt >= 1", name="attempt"), primary_key=True),
    Column("phase", String(16), primary_key=True),
    Column("state", String(16), _one_of("state", RoundState), nullable=False),
    Column("base_digest", String(64), nullable=False),
    Column("base_bytes", BIG_INTEGER, nullable=False),
    Column("base_delta_digest", String(64)),
    Column("base_delta_bytes", BIG_INTEGER),
    Column("base_delta_since", String(64)),
    Column("base_state_digest", String(64)),
    Column("base_state_bytes", BIG_INTEGER),
    Column("aggregate_digest", String(64)),
    Column("aggregate_bytes", BIG_INTEGER),
    Column("aggregate_state_digest", String(64)),
    Column("aggregate_state_bytes", BIG_INTEGER),
    Column("opened_at", Float, nullable=False),
    Column("deadline", Float, nullable=False),
    Column("closed_at", Float),
    Column("figures", Text),
    Column("together", Text),
)

ATTEMPT_KEY = ("run_id", "number", "attempt", "phase")
"""Columns that an attempt is found by, in `round` and `answer`."""

answer = Table(
    "answer",
    metadata,
    Column("run_id", String(63), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("phase", String(16), primary_key=True),
    Column("site_id", String(63), ForeignKey("site.site_id"), primary_key=True),
    Column("state", String(16), _one_of("state", AnswerState), nullable=False),
    Column("reason", Text),
    Column("envelope", LargeBinary),
    Column("payload", Text),
    Column("asked_at", Float, nullable=False),
    Column("answered_at", Float),
    Column("figures", Text),
    Column("fetched_at", Float),
    Column("sending_at", Float),
    ForeignKeyConstraint(
        ["run_id", "number", "attempt", "phase"],
        ["round.run_id", "round.number", "round.attempt", "round.phase"],
    ),
    Index("ix_answer_state", "run_id", "phase", "number", "attempt", "state", "site_id"),
)

model = Table(
    "model",
    metadata,
    Column("model_id", String(80), primary_key=True),
    Column("run_id", String(63), ForeignKey("run.run_id"), nullable=False, unique=True),
    Column("manifest_sha256", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("release_asked_by", String(80)),
    Column("released_at", Float),
    Column("revoked_at", Float),
    Column("revoked_because", Text),
)

model_file = Table(
    "model_file",
    metadata,
    Column("model_id", String(80), ForeignKey("model.model_id"), primary_key=True),
    Column("name", String(80), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("size_bytes", BIG_INTEGER, nullable=False),
)

password = Table(
    "password",
    metadata,
    Column("person", String(63), ForeignKey("person.name"), primary_key=True),
    Column("encoded", String(255), nullable=False),
    Column("set_at", Float, nullable=False),
)

second_factor = Table(
    "second_factor",
    metadata,
    Column("person", String(63), ForeignKey("person.name"), primary_key=True),
    Column("sealed_secret", LargeBinary, nullable=False),
    Column("begun_at", Float, nullable=False),
    # From then on it is asked for.
    Column("confirmed_at", Float),
    Column("last_step", BIG_INTEGER, nullable=False),
)

outside_identity = Table(
    "outside_identity",
    metadata,
    Column("person", String(63), ForeignKey("person.name"), primary_key=True),
    Column("issuer", String(500), nullable=False),
    Column("claim", String(8), nullable=False),
    Column("value", String(255), nullable=False),
    Column("bound_at", Float, nullable=False),
    CheckConstraint("claim IN ('sub', 'email')", name="claim_known"),
    UniqueConstraint("issuer", "claim", "value"),
)

recovery_code = Table(
    "recovery_code",
    metadata,
    Column("person", String(63), ForeignKey("person.name"), primary_key=True),
    Column("code_hash", String(64), primary_key=True),
)

sign_in = Table(
    "sign_in",
    metadata,
    Column("key_hash", String(64), primary_key=True),
    Column("person", String(63), ForeignKey("person.name"), nullable=False),
    Column("begun_at", Float, nullable=False),
    Column("used_at", Float, nullable=False),
)

alert = Table(
    "alert",
    metadata,
    Column("alert_id", BIG_INTEGER, primary_key=True),
    # The same for the same trouble; of what lasts, one row at a time has not ended.
    Column("key", String(255), nullable=False, index=True),
    Column("rule", String(32), nullable=False),
    Column("subject", String(80), nullable=False),
    Column("text", Text, nullable=False),
    Column("raised_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("acknowledged_at", Float),
    Column("acknowledged_by", String(80)),
)

notice = Table(
    "notice",
    metadata,
    Column("alert_id", BIG_INTEGER, ForeignKey("alert.alert_id"), primary_key=True),
    Column("kind", String(16), CheckConstraint("kind IN ('raised', 'ended')", name="kind"), primary_key=True),
    Column("channel", String(16), primary_key=True),
    Column("made_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("sent_at", Float),
    Column("dropped_at", Float),
)
