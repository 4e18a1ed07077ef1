"""The rounds of runs as spans of traces: decided here, from what the store has of attempts that are over.

    run                     from its start to its end
    └── round | count | evaluate    one attempt, with all of its phases
        └── phase           one exchange with the cohort
            └── answer      of one site, from being asked

Keys are those of the store, so that a span that is sent again is known to be the same one. Attributes are
names, states, numbers and times; nothing that a site has told of its images is among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from server.lifecycle import AnswerState, RoundState, RunState
from server.stages import Steps
from server.store.closed_attempts import ClosedAttempt, Part
from server.store.run import Run
from shared.records import MASKING_PHASES, Phase

ROUND = "round"
MOST_WAITING = 1000
Value: TypeAlias = str | int | float
Group: TypeAlias = tuple[str, int, int, str]
"""Run, number, attempt, and what it is an attempt at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span.

    Attributes
    ----------
    trace, key, parent
        What it is known by: its run, itself, and the span that it is part of; None of a run.
    started_at, ended_at
        Seconds since the Unix epoch.
    """

    trace: str
    key: str
    parent: str | None
    name: str
    started_at: float
    ended_at: float
    attributes: Mapping[str, Value]
    is_failed: bool


class Gathering:
    """Puts the phases of attempts together until an attempt is over."""

    def __init__(self) -> None:
        self._waiting: dict[Group, list[ClosedAttempt]] = {}

    def add(self, closed: Iterable[ClosedAttempt]) -> list[Sequence[ClosedAttempt]]:
        """The attempts that are over now, each as its phases in the order of closing."""
        over: list[Sequence[ClosedAttempt]] = []
        for each in closed:
            # What goes under masks closes last, after the phases about them.
            masks = (each.run_id, each.number, each.attempt, ROUND)
            group = masks if masks in self._waiting else _group_of(each)
            phases = self._waiting.setdefault(group, [])
            phases.append(each)
            if _is_over(phases):
                over.append(self._waiting.pop(group))
        while len(self._waiting) > MOST_WAITING:  # of attempts that never came to an end
            self._waiting.pop(next(iter(self._waiting)))
        return over


def spans_of_attempt(phases: Sequence[ClosedAttempt], names: Mapping[str, str]) -> list[Span]:
    """An attempt, its phases and the sites' answers.

    Parameters
    ----------
    names
        Of sites, by site id.
    """
    last = phases[-1]
    group = _group_of(last)
    key = "/".join(map(str, group))
    occasion: dict[str, Value] = {
        "mammofed.run.id": last.run_id,
        "mammofed.round": last.number,
        "mammofed.attempt": last.attempt,
    }
    spans = [
        Span(
            trace=last.run_id,
            key=key,
            parent=last.run_id,
            name=group[-1],
            started_at=min(each.opened_at for each in phases),
            ended_at=last.closed_at,
            attributes={**occasion, "mammofed.state": last.state.value},
            is_failed=last.state is RoundState.VOID,
        )
    ]
    for phase in phases:
        phase_key = f"{key}/{phase.phase.value}"
        spans.append(
            Span(
                trace=last.run_id,
                key=phase_key,
                parent=key,
                name=phase.phase.value,
                started_at=phase.opened_at,
                ended_at=phase.closed_at,
                attributes={
                    **occasion,
                    "mammofed.state": phase.state.value,
                    "mammofed.sites.asked": len(phase.parts),
                    "mammofed.sites.counted": sum(part.state is AnswerState.ADMITTED for part in phase.parts),
                },
                is_failed=phase.state is RoundState.VOID,
            )
        )
        spans += [_answer(part, phase, phase_key, occasion, names) for part in phase.parts]
    return spans


def span_of_run(run: Run) -> Span | None:
    """A run that is over; None before."""
    if run.finished_at is None or not run.state.is_over:
        return None
    return Span(
        trace=run.run_id,
        key=run.run_id,
        parent=None,
        name="run",
        started_at=run.created_at,
        ended_at=run.finished_at,
        attributes={
            "mammofed.run.id": run.run_id,
            "mammofed.run.name": run.name,
            "mammofed.plan.sha256": run.plan_sha256,
            "mammofed.state": run.state.value,
        },
        is_failed=run.state is RunState.FAILED,
    )


def _answer(
    part: Part, phase: ClosedAttempt, parent: str, occasion: Mapping[str, Value], names: Mapping[str, str]
) -> Span:
    steps = Steps(
        asked_at=part.asked_at,
        fetched_at=part.fetched_at,
        sending_at=part.sending_at,
        answered_at=part.answered_at,
    )
    took = {"download": steps.download_s, "train": steps.train_s, "upload": steps.upload_s}
    ended_at = phase.closed_at if part.answered_at is None else part.answered_at
    return Span(
        trace=phase.run_id,
        key=f"{parent}/{part.site_id}",
        parent=parent,
        name="answer",
        started_at=part.asked_at,
        ended_at=max(ended_at, part.asked_at),
        attributes={
            **occasion,
            "mammofed.site.id": part.site_id,
            "mammofed.site.name": names.get(part.site_id, part.site_id),
            "mammofed.state": part.state.value,
            **{f"mammofed.{name}_s": value for name, value in took.items() if value is not None},
        },
        is_failed=part.state is not AnswerState.ADMITTED,
    )


def _group_of(attempt: ClosedAttempt) -> Group:
    is_round = attempt.phase in {Phase.TRAIN, *MASKING_PHASES}
    return attempt.run_id, attempt.number, attempt.attempt, ROUND if is_round else attempt.phase.value


def _is_over(phases: Sequence[ClosedAttempt]) -> bool:
    """What goes under masks, if anything does, is closed; or it was never begun, as they came to nothing."""
    last = phases[-1]
    if last.phase not in MASKING_PHASES:
        return True
    return last.phase in {Phase.KEYS, Phase.SHARES} and last.state is RoundState.VOID
