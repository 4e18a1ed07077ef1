"""What the store says of a run: its rounds, the sites' answers, its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from server.lifecycle import AnswerState, RoundState, RunState
from shared.plan import Plan
from shared.records import Contribution, Delta, Phase
from shared.transfer.blob_ref import BlobRef

NO_ANSWER = "no answer"
"""Of a site that had not answered when its attempt was closed."""

INTERRUPTED = "the coordinator was interrupted"
"""Of a site that had not answered when the coordinator's process ended."""

STOPPED = "the run was stopped"
"""Of a site that had not answered when a person stopped the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training under one frozen plan; times in seconds since the Unix epoch.

    Attributes
    ----------
    finished_at
        When it came to its end, was stopped or failed.
    resumed_at
        When it was last resumed.
    initial_digest
        Of the weights that it starts from, if its plan names them.
    """

    run_id: str
    name: str
    plan_sha256: str
    plan_toml: str
    state: RunState
    created_at: float
    finished_at: float | None = None
    failure: str | None = None
    resumed_at: float | None = None
    initial_digest: str | None = None

    @classmethod
    def under(cls, plan: Plan, *, run_id: str, created_at: float) -> Run:
        """A run that is about to be submitted."""
        return cls(
            run_id=run_id,
            name=plan.name,
            plan_sha256=plan.sha256,
            plan_toml=plan.to_toml(),
            state=RunState.SUBMITTED,
            created_at=created_at,
            initial_digest=plan.initial_weights,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One attempt at one phase of a round."""

    run_id: str
    number: int
    attempt: int
    phase: Phase
    state: RoundState
    base: BlobRef
    base_state: BlobRef | None
    aggregate: BlobRef | None
    opened_at: float
    deadline: float
    closed_at: float | None
    base_delta: Delta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One site's part in one attempt.

    Attributes
    ----------
    fetched_at
        When it had all of the attempt's weights; None if not yet, and if it had them before.
    sending_at
        When it began to send its update.
    """

    number: int
    attempt: int
    phase: Phase
    site_id: str
    state: AnswerState
    reason: str | None
    contribution: Contribution | None
    asked_at: float
    answered_at: float | None
    fetched_at: float | None = None
    sending_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a site was asked in an attempt, and what became of it until when.

    Attributes
    ----------
    deadline, closed_at
        Of the attempt; it is open while `closed_at` is None.
    """

    site_id: str
    phase: Phase
    state: AnswerState
    reason: str | None
    asked_at: float
    answered_at: float | None
    deadline: float
    closed_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedUpdate:
    """What a site is now asked to train on.

    Attributes
    ----------
    attempt
        Run, round and attempt that it is asked in.
    """

    attempt: tuple[str, int, int]
    base_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The weights after a finished round, and the strategy's state beside them.

    Attributes
    ----------
    delta
        The weights by what has changed since those before; None where that saves little, and where the
        checkpoint was read from the store.
    """

    number: int
    weights: BlobRef
    state: BlobRef
    delta: Delta | None = None
