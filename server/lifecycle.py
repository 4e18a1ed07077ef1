"""Lifecycles of a site, its consent, a run, a round and an answer, as tables of allowed transitions.

That of a published model, which the sites know too, is `shared.published.MODEL_TRANSITIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from shared.errors import AggregationError
from shared.published import ModelState


class SiteState(StrEnum):
    """A hospital on its way into the federation, in it, and out of it."""

    PENDING = "pending"
    ACTIVE = "active"
    REJECTED = "rejected"
    REVOKED = "revoked"


class ConsentState(StrEnum):
    """Where a site stands with the plan of a run."""

    OFFERED = "offered"
    APPROVED = "approved"
    REFUSED = "refused"


class RunState(StrEnum):
    """One training under one frozen plan; until enough sites approve of the plan it stays submitted.

    A run that a person has stopped, or that has failed, is submitted again when it is resumed.
    """

    SUBMITTED = "submitted"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens in it, unless it is resumed."""
        return self not in {RunState.SUBMITTED, RunState.RUNNING}


class RoundState(StrEnum):
    """One attempt at a phase of a round."""

    OPEN = "open"
    AGGREGATED = "aggregated"
    VOID = "void"


class AnswerState(StrEnum):
    """One site's part in one attempt."""

    ASKED = "asked"
    ADMITTED = "admitted"
    REJECTED = "rejected"
    REFUSED = "refused"
    LOST = "lost"


State = TypeVar("State", SiteState, ConsentState, RunState, RoundState, AnswerState, ModelState)

SITE_TRANSITIONS: Mapping[SiteState, frozenset[SiteState]] = {
    SiteState.PENDING: frozenset({SiteState.ACTIVE, SiteState.REJECTED}),
    SiteState.ACTIVE: frozenset({SiteState.REVOKED}),
    SiteState.REJECTED: frozenset(),
    SiteState.REVOKED: frozenset(),
}
CONSENT_TRANSITIONS: Mapping[ConsentState, frozenset[ConsentState]] = {
    ConsentState.OFFERED: frozenset({ConsentState.APPROVED, ConsentState.REFUSED}),
    ConsentState.APPROVED: frozenset({ConsentState.REFUSED}),
    ConsentState.REFUSED: frozenset({ConsentState.APPROVED}),
}
RUN_TRANSITIONS: Mapping[RunState, frozenset[RunState]] = {
    RunState.SUBMITTED: frozenset({RunState.RUNNING, RunState.FAILED, RunState.STOPPED}),
    RunState.RUNNING: frozenset({RunState.FINISHED, RunState.FAILED, RunState.STOPPED}),
    RunState.FINISHED: frozenset(),
    RunState.FAILED: frozenset({RunState.SUBMITTED}),
    RunState.STOPPED: frozenset({RunState.SUBMITTED}),
}
ROUND_TRANSITIONS: Mapping[RoundState, frozenset[RoundState]] = {
    RoundState.OPEN: frozenset({RoundState.AGGREGATED, RoundState.VOID}),
    RoundState.AGGREGATED: frozenset(),
    RoundState.VOID: frozenset(),
}
ANSWER_TRANSITIONS: Mapping[AnswerState, frozenset[AnswerState]] = {
    AnswerState.ASKED: frozenset(
        {AnswerState.ADMITTED, AnswerState.REJECTED, AnswerState.REFUSED, AnswerState.LOST}
    ),
    AnswerState.ADMITTED: frozenset(),
    AnswerState.REJECTED: frozenset(),
    AnswerState.REFUSED: frozenset(),
    AnswerState.LOST: frozenset(),
}


def require_transition(table: Mapping[State, frozenset[State]], old: State, new: State) -> None:
    """Let an allowed transition pass.

    Raises
    ------
    AggregationError
        The pair is not in the table.
    """
    if new not in table[old]:
        raise AggregationError(
            f"{type(old).__name__} cannot go from {old.value} to {new.value}.",
            "Look at the audit log for what happened before.",
        )
