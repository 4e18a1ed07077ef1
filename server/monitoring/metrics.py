"""What the coordinator shows to Prometheus: facts and counts of rows, as figures.

Nothing is of an image or a patient: there is no count of examples, and of the model only the watched measure
over all sites.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version

from server.coordinator import Coordinator
from server.lifecycle import AnswerState, RoundState, RunState
from server.monitoring.facts import Facts
from server.monitoring.settings import Rule
from shared.metrics import Labels, Metric, figure

PREFIX = "mammofed_coordinator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many rows there are of which state."""

    federation: str
    is_clock_right: bool
    runs: Mapping[RunState, int]
    attempts: Mapping[RoundState, int]
    answers: Mapping[AnswerState, int]
    open_alerts: Mapping[str, int]
    unsent: Mapping[str, int]


def tally_of(coordinator: Coordinator, *, channels: Collection[str]) -> Tally:
    """Count them. Raises StoreError."""
    return Tally(
        federation=coordinator.name,
        is_clock_right=not coordinator.clock.trouble(),
        runs=Counter(run.state for run in coordinator.runs.all()),
        attempts=coordinator.troubles.num_attempts(),
        answers=coordinator.troubles.num_answers(),
        open_alerts=Counter(each.rule for each in coordinator.alerts.open()),
        unsent={channel: coordinator.alerts.num_unsent(channel) for channel in channels},
    )


def metrics_of(facts: Facts, tally: Tally, *, measure: str, now: float) -> list[Metric]:
    """All figures of this moment."""
    return [*_of_service(facts, tally, now), *_of_sites(facts), *_of_runs(facts, measure), *_of_rows(tally)]


def _of_service(facts: Facts, tally: Tally, now: float) -> Iterator[Metric]:
    labels = {"version": version("mammofed"), "federation": tally.federation}
    yield figure(f"{PREFIX}_info", "Version and federation.", 1, **labels)
    yield figure(f"{PREFIX}_looked_timestamp_seconds", "When these figures were read.", now)
    yield figure(f"{PREFIX}_clock_right", "Whether the clock agrees with the sites'.", tally.is_clock_right)
    yield figure(f"{PREFIX}_disk_free_bytes", "Free on the disk of the home folder.", facts.free_bytes)
    yield Metric(
        name=f"{PREFIX}_certificate_end_timestamp_seconds",
        help="When a certificate ends.",
        values=[({"of": each.whose}, each.ends_at) for each in facts.certificates],
    )


def _of_sites(facts: Facts) -> Iterator[Metric]:
    yield Metric(
        name=f"{PREFIX}_site_online",
        help="Whether a site is in touch; nothing while the SuperLink does not tell.",
        values=[({"site": site.name}, float(site.silent_since is None)) for site in facts.sites]
        if facts.is_contact_known
        else [],
    )
    yield Metric(
        name=f"{PREFIX}_site_paused",
        help="Whether a site has paused.",
        values=[({"site": site.name}, float(site.is_paused)) for site in facts.sites],
    )


def _of_runs(facts: Facts, measure: str) -> Iterator[Metric]:
    def of_each(name: str, help: str, values: Mapping[str, float]) -> Metric:
        labelled: list[tuple[Labels, float]] = [
            ({"run_id": run.run_id, "run": run.name}, values[run.run_id])
            for run in facts.runs
            if run.run_id in values
        ]
        return Metric(name=f"{PREFIX}_run_{name}", help=help, values=labelled)

    runs = {run.run_id: run for run in facts.runs}
    online = {site.site_id for site in facts.sites if site.silent_since is None and not site.is_paused}
    yield of_each(
        "rounds", "Rounds of a run that is not over.", {i: run.num_rounds for i, run in runs.items()}
    )
    yield of_each(
        "rounds_aggregated", "Its rounds in a checkpoint.", {i: run.num_aggregated for i, run in runs.items()}
    )
    yield of_each("quorum", "Answers that its rounds need.", {i: run.quorum for i, run in runs.items()})
    yield of_each(
        "sites_ready",
        "Sites that approve of it, are in touch and have not paused.",
        {i: len(run.approved & online) for i, run in runs.items()} if facts.is_contact_known else {},
    )
    yield Metric(
        name=f"{PREFIX}_run_measure",
        help="The watched measure over all sites, of the weights that its last round began with.",
        values=[
            ({"run_id": run.run_id, "run": run.name, "measure": measure}, run.values[-1][1])
            for run in facts.runs
            if run.values
        ],
    )


def _of_rows(tally: Tally) -> Iterator[Metric]:
    yield Metric(
        name=f"{PREFIX}_runs",
        help="Runs by state.",
        values=[({"state": state.value}, tally.runs.get(state, 0)) for state in RunState],
    )
    yield Metric(
        name=f"{PREFIX}_attempts_total",
        help="Attempts at rounds that were closed, by what came of them.",
        values=[
            ({"state": state.value}, tally.attempts.get(state, 0))
            for state in (RoundState.AGGREGATED, RoundState.VOID)
        ],
        kind="counter",
    )
    yield Metric(
        name=f"{PREFIX}_answers_total",
        help="Sites' parts in attempts, by what became of them.",
        values=[
            ({"state": state.value}, tally.answers.get(state, 0))
            for state in AnswerState
            if state is not AnswerState.ASKED
        ],
        kind="counter",
    )
    yield Metric(
        name=f"{PREFIX}_alerts_open",
        help="Alerts that somebody must see to, by rule.",
        values=[({"rule": rule.value}, tally.open_alerts.get(rule, 0)) for rule in Rule],
    )
    yield Metric(
        name=f"{PREFIX}_notices_unsent",
        help="Notices of alerts that a channel has still to send.",
        values=[({"channel": channel}, num) for channel, num in sorted(tally.unsent.items())],
    )
