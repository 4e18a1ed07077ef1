"""From a submitted run to a running one: it waits until as many sites as its quorum approve of its plan."""

from __future__ import annotations

import logging
import time
from typing import Protocol

from httpx import HTTPError

from server.coordinator import Coordinator
from server.lifecycle import ConsentState, RunState
from server.store import Run
from shared.errors import UnreachableError
from shared.plan import Plan

log = logging.getLogger(__name__)


class RunControl(Protocol):
    """What is asked of the SuperLink; `server.flower.control` speaks Flower."""

    def start_run(self, run_id: str) -> int:
        """Hand a run to Flower."""
        ...


def may_begin(run: Run, coordinator: Coordinator) -> bool:
    """Whether a run has begun already, or enough sites approve of its plan."""
    approving = coordinator.consents.sites_in(ConsentState.APPROVED, run.run_id)
    active = {site.site_id for site in coordinator.federation.active()}
    quorum = Plan.from_toml(run.plan_toml).least_cohort
    return run.state is RunState.RUNNING or len(approving & active) >= quorum


def can_begin(run: Run, coordinator: Coordinator) -> bool:
    """Whether there is hope: the sites that have not refused are as many as the quorum."""
    refusing = coordinator.consents.sites_in(ConsentState.REFUSED, run.run_id)
    active = {site.site_id for site in coordinator.federation.active()}
    return len(active - refusing) >= Plan.from_toml(run.plan_toml).least_cohort


class Launcher:
    """Hands over to Flower the runs that may begin, each once in the life of a SuperLink, and
    once more when it was resumed."""

    def __init__(self, coordinator: Coordinator, control: RunControl) -> None:
        self._coordinator = coordinator
        self._control = control
        self._launched: set[tuple[str, float | None]] = set()

    def forget(self) -> None:
        """A SuperLink has started with an empty state; runs that had begun are the runner's to hand over."""
        self._launched.clear()

    def follow_consents(self) -> None:
        """Begin the runs that may, and end those that too many sites refuse."""
        for run in self._coordinator.runs.unfinished():
            if run.state is not RunState.SUBMITTED or (run.run_id, run.resumed_at) in self._launched:
                continue
            if not can_begin(run, self._coordinator):
                failure = "Too few sites approve of the plan; the command run show tells why."
                self._coordinator.runs.move(run.run_id, RunState.FAILED, at=time.time(), failure=failure)
            elif may_begin(run, self._coordinator):
                self._launch(run)

    def _launch(self, run: Run) -> None:
        try:
            self._control.start_run(run.run_id)
        except (HTTPError, UnreachableError) as error:
            log.debug("the SuperLink does not answer: %s", type(error).__name__)
        else:
            self._launched.add((run.run_id, run.resumed_at))
