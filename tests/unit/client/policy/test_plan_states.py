"""Every pair of states of a plan at a site, legal and illegal."""

from __future__ import annotations

import itertools

import pytest

from client.plan_states import PLAN_TRANSITIONS, PlanState, require_plan_transition
from shared.errors import PolicyError

LEGAL = {
    (PlanState.WAITING, PlanState.BARRED),
    (PlanState.WAITING, PlanState.APPROVED),
    (PlanState.WAITING, PlanState.REJECTED),
    (PlanState.WAITING, PlanState.OVER),
    (PlanState.BARRED, PlanState.WAITING),
    (PlanState.BARRED, PlanState.REJECTED),
    (PlanState.BARRED, PlanState.OVER),
    (PlanState.APPROVED, PlanState.WAITING),
    (PlanState.APPROVED, PlanState.REJECTED),
    (PlanState.APPROVED, PlanState.OVER),
    (PlanState.REJECTED, PlanState.APPROVED),
    (PlanState.REJECTED, PlanState.OVER),
    (PlanState.OVER, PlanState.WAITING),
    (PlanState.OVER, PlanState.BARRED),
    (PlanState.OVER, PlanState.APPROVED),
    (PlanState.OVER, PlanState.REJECTED),
}
PAIRS = list(itertools.product(PlanState, PlanState))


@pytest.mark.parametrize(("old", "new"), [pair for pair in PAIRS if pair in LEGAL])
def test_a_legal_transition_passes(old: PlanState, new: PlanState) -> None:
    require_plan_transition(old, new)


@pytest.mark.parametrize(("old", "new"), [pair for pair in PAIRS if pair not in LEGAL])
def test_an_illegal_transition_is_refused_by_name(old: PlanState, new: PlanState) -> None:
    with pytest.raises(PolicyError, match=f"is {old.value} cannot become {new.value}"):
        require_plan_transition(old, new)


def test_every_state_has_its_row() -> None:
    assert set(PLAN_TRANSITIONS) == set(PlanState)
