"""What the page of a run is made of, read from the store at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.console.charts import MOST_LINES, json_of
from server.coordinator import Coordinator
from server.learning_curves import Panel, lines_of, panels
from server.lifecycle import AnswerState
from server.store import Run
from server.summary import RunSummary, names_of, summarize

MOST_ROUNDS_IN_LANES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A run as it stands.

    Attributes
    ----------
    num_sites
        That were asked to train in it.
    lanes
        What became of each of them in the last rounds, by its name: number of the round and state.
    curves
        What is drawn, as JSON.
    """

    summary: RunSummary
    num_sites: int
    lanes: Mapping[str, Sequence[tuple[int, AnswerState]]]
    drawn: Sequence[Panel]
    curves: str


def read(run: Run, coordinator: Coordinator) -> Reading:
    """Read a run."""
    summary, names = summarize(run, coordinator), names_of(coordinator)
    drawn = panels(summary.rounds, lines_of(coordinator, run.run_id, at_most=MOST_LINES))
    last = summary.rounds[-MOST_ROUNDS_IN_LANES:]
    states = coordinator.histories.states(run.run_id, from_number=last[0].number) if last else {}
    return Reading(
        summary=summary,
        num_sites=len(coordinator.histories.sites_of(run.run_id)),
        lanes={names[site_id]: lane for site_id, lane in states.items()},
        drawn=drawn,
        curves=json_of(drawn),
    )
