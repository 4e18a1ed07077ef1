"""A run while it goes on: what all its steps share, and which of its sites can be asked."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from server.channel import SiteChannel
from server.clock import Steadiness
from server.coordinator import Coordinator
from server.lateness import Lateness
from server.lifecycle import ConsentState
from server.store import Run, Site
from shared.errors import AggregationError, QuorumError
from shared.plan import Plan

GATHER_POLL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A run while it goes on.

    Attributes
    ----------
    resting
        Sites that train at other hours, by site id, each with the time (seconds since the epoch) from when on
        it may be asked again.
    steadiness
        Of the clock since the run was taken up: deadlines and the presence of nodes depend on it.
    """

    run: Run
    plan: Plan
    channel: SiteChannel
    coordinator: Coordinator
    resting: dict[str, float] = field(default_factory=dict)
    lateness: Lateness = field(default_factory=Lateness)
    steadiness: Steadiness = field(default_factory=Steadiness)


def require_going_on(session: Session) -> None:
    """Return only if nobody has stopped the run, and the clock is right.

    Raises
    ------
    AggregationError
        The run was stopped.
    ClockError
        The clock is wrong, or was set since the run was taken up.
    """
    if session.coordinator.runs.get(session.run.run_id).state.is_over:
        raise AggregationError("The run was stopped.", "`mammofed-coordinator run resume` lets it go on.")
    session.steadiness.require()
    session.coordinator.clock.require_right()


def present(session: Session) -> list[Site]:
    """The sites that may be asked now, by site id: approving, neither paused nor resting, and online."""
    online, consents = session.channel.online(), session.coordinator.consents
    approving = consents.sites_in(ConsentState.APPROVED, session.run.run_id) - consents.paused()
    return [
        site
        for site in session.coordinator.federation.active()
        if site.site_id in approving and site.node_id in online and not _rests(session, site)
    ]


def _rests(session: Session, site: Site) -> bool:
    return time.time() < session.resting.get(site.site_id, 0)


def _expected(session: Session) -> list[Site]:
    """The sites that may still be there in a moment: all but those that have refused or paused, or rest."""
    consents = session.coordinator.consents
    absent = consents.sites_in(ConsentState.REFUSED, session.run.run_id) | consents.paused()
    return [
        site
        for site in session.coordinator.federation.active()
        if site.site_id not in absent and not _rests(session, site)
    ]


def gather(
    session: Session,
    *,
    patience_s: float,
    given: frozenset[str] = frozenset(),
    needed: frozenset[str] = frozenset(),
) -> list[Site]:
    """The sites that can be asked: all that are expected, or after `patience_s` as many as are needed.

    Sites that rest are waited for as long as they say; only then does the plan's timeout begin.

    Parameters
    ----------
    given
        Sites that have answered already, present or not: nobody waits for them.
    needed
        Sites without which there is no sense in asking.

    Raises
    ------
    QuorumError
        Fewer than the quorum, or than secure aggregation takes, were there within the plan's timeout.
    AggregationError, ClockError
        See `require_going_on`.
    """
    began = time.monotonic()
    quorum = session.plan.least_cohort
    while True:
        require_going_on(session)
        cohort = present(session)
        num_there = len(given | {site.site_id for site in cohort})
        has_needed = needed <= {site.site_id for site in cohort}
        num_expected = len(given | {site.site_id for site in _expected(session)})
        waited_s = time.monotonic() - began
        if has_needed and num_there >= quorum and (num_there == num_expected or waited_s >= patience_s):
            return cohort
        num_resting = sum(
            time.time() < until for site_id, until in session.resting.items() if site_id not in given
        )
        if num_resting and num_there + num_resting >= quorum:
            began = time.monotonic()
        elif waited_s > session.plan.rounds.timeout_s:
            num_active = len(session.coordinator.federation.active())
            if num_there >= quorum:
                raise QuorumError(
                    "A site is missing of those whose sum may be read in this round; no other sum may be.",
                    "Ask it to run `mammofed-site serve`, then `run resume`; or start a run of its own.",
                )
            raise QuorumError(
                f"Only {num_there} of {num_active} sites approve and are online; the plan needs {quorum}.",
                "Ask the sites to run `mammofed-site serve` (and `resume`), then start the run again.",
            )
        time.sleep(GATHER_POLL_S)


def gather_any(session: Session, *, patience_s: float) -> list[Site]:
    """As `gather`, and where the quorum does not come within the plan's timeout, those that are there.

    For what needs no quorum and is done once: whoever is not there then is left out for good. Raises as
    `require_going_on`.
    """
    try:
        return gather(session, patience_s=patience_s)
    except QuorumError:
        return present(session)
