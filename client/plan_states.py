"""The lifecycle of a plan at a site, from the coordinator's offer on, as a table of allowed transitions."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from shared.errors import PolicyError


class PlanState(StrEnum):
    """Where the plan of a run stands here.

    Waiting plans wait for a person; barred ones break the site's policy, and wait again when they no longer
    do; so do those approved without a person when the policy asks for one. Plans are over when the
    coordinator's run is; if it is resumed, they stand where they stood.
    """

    WAITING = "waiting"
    BARRED = "barred"
    APPROVED = "approved"
    REJECTED = "rejected"
    OVER = "over"


PLAN_TRANSITIONS: Mapping[PlanState, frozenset[PlanState]] = {
    PlanState.WAITING: frozenset({PlanState.BARRED, PlanState.APPROVED, PlanState.REJECTED, PlanState.OVER}),
    PlanState.BARRED: frozenset({PlanState.WAITING, PlanState.REJECTED, PlanState.OVER}),
    PlanState.APPROVED: frozenset({PlanState.WAITING, PlanState.REJECTED, PlanState.OVER}),
    PlanState.REJECTED: frozenset({PlanState.APPROVED, PlanState.OVER}),
    PlanState.OVER: frozenset({PlanState.WAITING, PlanState.BARRED, PlanState.APPROVED, PlanState.REJECTED}),
}


def require_plan_transition(old: PlanState, new: PlanState) -> None:
    """Let an allowed transition pass.

    Raises
    ------
    PolicyError
        The pair is not in the table.
    """
    if new not in PLAN_TRANSITIONS[old]:
        raise PolicyError(
            f"A plan that is {old.value} cannot become {new.value}.", "`mammofed-site plans` shows all plans."
        )
