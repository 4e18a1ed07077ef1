"""A run at the terminal: live while it goes on, as tables afterwards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from server.coordinator import Coordinator
from server.lifecycle import ConsentState, RoundState, RunState
from server.measure_tables import EXPLANATION, MeasureTable, measure_tables
from server.summary import (
    RoundSummary,
    RunSummary,
    SiteConsent,
    SitePart,
    summarize,
)
from shared.errors import AggregationError, NotFoundError
from shared.evaluation.measures import IN_AGGREGATE, MEASURES, PER_ROUND
from shared.terminal import Output

POLL_S = 0.5
MAX_ROUNDS_SHOWN = 12


def watch_run(coordinator: Coordinator, run_id: str, output: Output) -> None:
    """Follow a run until it is over.

    A terminal gets a live picture, a file or pipe a line for each round, a machine a JSON line for each.

    Raises
    ------
    NotFoundError
        No run has this id.
    AggregationError
        The run failed, or was stopped.
    """
    if output.as_json or not output.console.is_terminal:
        summary = _watch_lines(coordinator, run_id, output)
    else:
        with Live(console=output.console, refresh_per_second=4) as live:
            while (summary := _summarize(coordinator, run_id)).run.finished_at is None:
                live.update(_picture(summary, coordinator.clock.trouble()))
                time.sleep(POLL_S)
            live.update(_picture(summary, ""))
    if summary.run.state is RunState.FAILED:
        raise AggregationError(f"The run failed. {summary.run.failure}", "`run show` tells more.")
    if summary.run.state is RunState.STOPPED:
        raise AggregationError("The run was stopped.", "`mammofed-coordinator run resume` lets it go on.")
    if output.as_json:
        output.json({"event": "finished", "run_id": run_id, "model_id": summary.model_id})
    else:
        output.console.print(_test_tables(summary))
        output.console.print(f"Published as {summary.model_id}.", markup=False)


def picture_of(summary: RunSummary, *, trouble: str) -> RenderableType:
    """A run as it stands, and what holds it up now, if anything does."""
    sites = _sites_table("Sites, last round", summary.parts, summary.uncounted)
    tests = [_test_tables(summary)] if summary.test.parts else []
    return Group(
        _heading(summary, trouble), _consents_table(summary), _rounds_table(summary.rounds), sites, *tests
    )


def receipt_of(summary: RunSummary, number: int, parts: Sequence[SitePart]) -> RenderableType:
    """One round: who was asked in its last attempt, who answered and is counted, and why the others are not.

    Raises
    ------
    NotFoundError
        The run has not opened this round.
    """
    found = [one for one in summary.rounds if one.number == number]
    if not found:
        raise NotFoundError("The run has no such round.", "`run show` lists those that were opened.")
    return Group(_heading(summary, ""), _rounds_table(found), _sites_table("Sites", parts, ()))


def _summarize(coordinator: Coordinator, run_id: str) -> RunSummary:
    run = coordinator.runs.get(run_id)
    return summarize(run, coordinator)


def _watch_lines(coordinator: Coordinator, run_id: str, output: Output) -> RunSummary:
    shown, told, warned = 0, "", ""
    if not output.as_json:
        output.console.print(f"{run_id} is submitted.", markup=False)
    while True:
        summary = _summarize(coordinator, run_id)
        if not summary.rounds and (stand := _stand(summary)) != told:
            told = stand
            if output.as_json:
                output.json({"event": "consents", "run_id": run_id, **_consents_json(summary)})
            else:
                output.console.print(stand, markup=False, soft_wrap=True)
        if (trouble := coordinator.clock.trouble()) != warned:
            warned = trouble
            if output.as_json:
                output.json({"event": "trouble", "run_id": run_id, "trouble": trouble})
            else:
                line = f"The run waits. {trouble}" if trouble else "The clock is right again."
                output.console.print(line, markup=False, soft_wrap=True)
        closed = [one for one in summary.rounds if one.state is not RoundState.OPEN]
        for one in closed[shown:]:
            if output.as_json:
                output.json({"event": "round", "run_id": run_id, **_round_json(one)})
            else:
                output.console.print(_round_line(summary, one), markup=False, soft_wrap=True)
        shown = len(closed)
        if summary.run.finished_at is not None:
            return summary
        time.sleep(POLL_S)


def _in_state(summary: RunSummary, state: ConsentState) -> list[SiteConsent]:
    return [each for each in summary.consents if each.state is state]


def _consents_json(summary: RunSummary) -> dict[str, Any]:
    return {
        "quorum": summary.quorum,
        "approved": [each.site for each in _in_state(summary, ConsentState.APPROVED)],
        "not_yet": [each.site for each in _in_state(summary, ConsentState.OFFERED)],
        "refused": {each.site: each.reason for each in _in_state(summary, ConsentState.REFUSED)},
    }


def _stand(summary: RunSummary) -> str:
    """One line: how many sites approve of the plan, who has not decided, and who refuses why."""
    approved, undecided, refused = (
        _in_state(summary, state)
        for state in (ConsentState.APPROVED, ConsentState.OFFERED, ConsentState.REFUSED)
    )
    waiting = f", not yet: {', '.join(each.site for each in undecided)}" if undecided else ""
    refusals = "; ".join(f"{each.site} ({each.reason})" for each in refused)
    return f"approved by {len(approved)}, {summary.quorum} needed{waiting}" + (
        f", refused: {refusals}" if refused else ""
    )


def _consents_table(summary: RunSummary) -> Table:
    table = Table(title="Approvals", title_justify="left", title_style="bold")
    for heading in ("site", "plan", "reason"):
        table.add_column(heading)
    words = {ConsentState.OFFERED: "not yet"}
    for each in summary.consents:
        table.add_row(each.site, words.get(each.state, each.state.value), Text(each.reason))
    return table


def _round_json(one: RoundSummary) -> dict[str, float | int | None]:
    return {
        "number": one.number,
        "sites_asked": one.num_asked,
        "sites_admitted": one.num_admitted,
        "train_loss": one.train_loss,
        **{f"validation_{name}": one.value(name) for name in PER_ROUND},
        "seconds": one.seconds,
    }


def _round_line(summary: RunSummary, one: RoundSummary) -> str:
    before = [
        f"{MEASURES[name].words} {value:.{MEASURES[name].decimals}f}"
        for name in PER_ROUND
        if name != "loss" and (value := one.value(name)) is not None
    ]
    measured = f"; before it {', '.join(before)}" if before else ""
    loss = f", loss {one.train_loss:.3f}" if one.train_loss is not None else ""
    left = summary.time_left
    return (
        f"round {one.number}/{summary.num_rounds}: {one.num_admitted}/{one.num_asked} sites{loss}, "
        f"{one.seconds or 0:.1f} s{f', {left} left' if left else ''}{measured}"
    )


def _picture(summary: RunSummary, trouble: str) -> RenderableType:
    if not summary.rounds:
        return Group(_heading(summary, trouble), Text(_stand(summary)))
    return Group(_heading(summary, trouble), _bar(summary), _rounds_table(summary.rounds[-MAX_ROUNDS_SHOWN:]))


def _heading(summary: RunSummary, trouble: str) -> Text:
    run = summary.run
    text = Text.assemble((run.name, "bold"), f"  {run.run_id}  {run.state.value}")
    if run.failure:
        text.append(f"\n{run.failure}", style="red")
    if trouble:
        text.append(f"\nThe run waits. {trouble}", style="red")
    return text


def _bar(summary: RunSummary) -> RenderableType:
    left = summary.time_left
    table = Table.grid(padding=(0, 1))
    step = (
        f"round {summary.num_finished + 1} of {summary.num_rounds}"
        if summary.num_finished < summary.num_rounds
        else "all rounds done, measuring on the test parts"
    )
    table.add_row(
        step,
        ProgressBar(total=summary.num_rounds, completed=summary.num_finished, width=40),
        f"{left} left" if left else "",
    )
    return table


def _rounds_table(rounds: Sequence[RoundSummary]) -> Table:
    table = Table(title="Rounds", title_justify="left", title_style="bold")
    told = [f"{MEASURES[name].words}*" for name in PER_ROUND]
    for heading in ("round", "state", "sites", "training loss", *told, "seconds"):
        table.add_column(heading, justify="left" if heading == "state" else "right")
    for one in rounds:
        table.add_row(
            str(one.number) if one.attempt == 1 else f"{one.number} (attempt {one.attempt})",
            one.state.value,
            f"{one.num_admitted}/{one.num_asked}",
            _number(one.train_loss),
            *[_number(one.value(name), MEASURES[name].decimals) for name in PER_ROUND],
            "" if one.seconds is None else f"{one.seconds:.1f}",
        )
    table.caption = "* of the weights that the round began with, on the images of all validation parts"
    table.caption_justify = "left"
    return table


def _sites_table(title: str, parts: Sequence[SitePart], uncounted: Sequence[SitePart]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in ("site", "state", "examples", "training loss", "seconds", "reason"):
        table.add_column(heading, justify="left" if heading in {"site", "state", "reason"} else "right")
    for part in parts:
        table.add_row(
            part.site,
            part.state.value,
            "" if part.num_examples is None else str(part.num_examples),
            IN_AGGREGATE if part.in_aggregate else _number(part.train_loss),
            "" if part.duration_s is None else f"{part.duration_s:.1f}",
            part.reason or "",
        )
    for part in uncounted:
        table.add_row(part.site, "not counted", "", "", "", part.reason or part.state.value)
    return table


def _test_tables(summary: RunSummary) -> Group:
    """How the global model does on each site's test part."""
    shown = [_measure_table(table) for table in measure_tables(summary.test)]
    return Group(*shown, Text(EXPLANATION, style="dim"))


def _measure_table(measures: MeasureTable) -> Table:
    table = Table(title=f"Test parts: {measures.title}", title_justify="left", title_style="bold")
    for heading in measures.head:
        table.add_column(heading, justify="left" if heading == "site" else "right")
    *sites, pooled = measures.rows
    for row in sites:
        table.add_row(*row)
    table.add_section()
    table.add_row(*pooled)
    return table


def _number(value: float | None, decimals: int = 3) -> str:
    return "" if value is None else f"{value:.{decimals}f}"
