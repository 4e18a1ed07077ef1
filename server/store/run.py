"""What the store says of a run: its rounds, the sites' answers, its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from server.lifecycle import AnswerState, RoundState, RunState
from shared.records import Contribution, Phase
from shared.transfer.blob_ref import BlobRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training under one frozen plan; times in seconds since the Unix epoch."""

    run_id: str
    name: str
    plan_sha256: str
    plan_toml: str
    state: RunState
    created_at: float
    finished_at: float | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One attempt at one phase of a round."""

    run_id: str
    number: int
    attempt: int
    phase: Phase
    state: RoundState
    base: BlobRef
    aggregate: BlobRef | None
    opened_at: float
    deadline: float
    closed_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One site's part in one attempt."""

    number: int
    attempt: int
    phase: Phase
    site_id: str
    state: AnswerState
    reason: str | None
    contribution: Contribution | None
    asked_at: float
    answered_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The weights after a finished round."""

    number: int
    weights: BlobRef
