"""Every pair of states of every lifecycle, legal and illegal."""

from __future__ import annotations

import itertools

import pytest

from server.lifecycle import (
    ANSWER_TRANSITIONS,
    CONSENT_TRANSITIONS,
    ROUND_TRANSITIONS,
    RUN_TRANSITIONS,
    SITE_TRANSITIONS,
    AnswerState,
    ConsentState,
    RoundState,
    RunState,
    SiteState,
    require_transition,
)
from shared.errors import AggregationError

TABLES = {
    SiteState: SITE_TRANSITIONS,
    ConsentState: CONSENT_TRANSITIONS,
    RunState: RUN_TRANSITIONS,
    RoundState: ROUND_TRANSITIONS,
    AnswerState: ANSWER_TRANSITIONS,
}
LEGAL = {
    (SiteState.PENDING, SiteState.ACTIVE),
    (SiteState.PENDING, SiteState.REJECTED),
    (SiteState.ACTIVE, SiteState.REVOKED),
    (ConsentState.OFFERED, ConsentState.APPROVED),
    (ConsentState.OFFERED, ConsentState.REFUSED),
    (ConsentState.APPROVED, ConsentState.REFUSED),
    (ConsentState.REFUSED, ConsentState.APPROVED),
    (RunState.SUBMITTED, RunState.RUNNING),
    (RunState.SUBMITTED, RunState.FAILED),
    (RunState.RUNNING, RunState.FINISHED),
    (RunState.RUNNING, RunState.FAILED),
    (RunState.SUBMITTED, RunState.STOPPED),
    (RunState.RUNNING, RunState.STOPPED),
    (RunState.FAILED, RunState.SUBMITTED),
    (RunState.STOPPED, RunState.SUBMITTED),
    (RoundState.OPEN, RoundState.AGGREGATED),
    (RoundState.OPEN, RoundState.VOID),
    (AnswerState.ASKED, AnswerState.ADMITTED),
    (AnswerState.ASKED, AnswerState.REJECTED),
    (AnswerState.ASKED, AnswerState.REFUSED),
    (AnswerState.ASKED, AnswerState.LOST),
}
PAIRS = [pair for states in TABLES for pair in itertools.product(states, states)]


@pytest.mark.parametrize(("old", "new"), [pair for pair in PAIRS if pair in LEGAL])
def test_a_legal_transition_passes(old, new) -> None:
    require_transition(TABLES[type(old)], old, new)


@pytest.mark.parametrize(("old", "new"), [pair for pair in PAIRS if pair not in LEGAL])
def test_an_illegal_transition_is_refused_by_name(old, new) -> None:
    with pytest.raises(AggregationError, match=f"from {old.value} to {new.value}"):
        require_transition(TABLES[type(old)], old, new)


@pytest.mark.parametrize("states", TABLES)
def test_every_state_has_its_row(states) -> None:
    assert set(TABLES[states]) == set(states)
