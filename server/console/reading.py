"""What the page of a run is made of, read from the store at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.console.charts import MOST_LINES, json_of
from server.coordinator import Coordinator
from server.learning_curves import Panel, lines_of, panels
from server.lifecycle import AnswerState, RoundState
from server.measure_tables import MeasureTable, density_table
from server.store import Run
from server.store.histories import TurnedAway
from server.summary import RunSummary, Telling, last_told, names_of, summarize
from shared.records import Phase

MOST_ROUNDS_IN_LANES = 20
MOST_TURNED_AWAY = 50


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
    agreement
        Percent density of the last round that tells it, by site; None if none does.
    agreement_of
        Number of that round.
    turned_away
        The last rejections and refusals, each with the site's name.
    """

    summary: RunSummary
    num_sites: int
    lanes: Mapping[str, Sequence[tuple[int, AnswerState]]]
    drawn: Sequence[Panel]
    curves: str
    agreement: MeasureTable | None
    agreement_of: int
    turned_away: Sequence[tuple[str, TurnedAway]]


def read(run: Run, coordinator: Coordinator) -> Reading:
    """Read a run."""
    summary, names = summarize(run, coordinator), names_of(coordinator)
    drawn = panels(summary.rounds, lines_of(coordinator, run.run_id, at_most=MOST_LINES))
    last = summary.rounds[-MOST_ROUNDS_IN_LANES:]
    states = coordinator.histories.states(run.run_id, from_number=last[0].number) if last else {}
    number, told = _last_told(summary, coordinator)
    return Reading(
        summary=summary,
        num_sites=len(coordinator.histories.sites_of(run.run_id)),
        lanes={names[site_id]: lane for site_id, lane in states.items()},
        drawn=drawn,
        curves=json_of(drawn),
        agreement=density_table(told),
        agreement_of=number,
        turned_away=[
            (names[each.site_id], each)
            for each in coordinator.histories.turned_away(run.run_id, at_most=MOST_TURNED_AWAY)
        ],
    )


def _last_told(summary: RunSummary, coordinator: Coordinator) -> tuple[int, Telling]:
    """The last round that is in the model, and what was told in it: others are half told, or not at all."""
    whole = [one for one in summary.rounds if one.state is RoundState.AGGREGATED]
    if not whole:
        return 0, Telling(parts=())
    number = whole[-1].number
    return number, last_told(coordinator, summary.run.run_id, Phase.TRAIN, number)
