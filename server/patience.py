"""Whom an exchange waits for, and for how long: decided from how a run's sites have answered so far."""

from __future__ import annotations

import math
from collections.abc import Iterable

from server.lifecycle import AnswerState
from server.store.run import NO_ANSWER, Timing
from shared.records import Phase

TIMES_THE_SLOWEST = 3.0
SHORTEST_S = 60.0
"""A network that is cut for half a minute, or a process that starts anew, costs no site its answer."""


def missed_deadlines(timings: Iterable[Timing]) -> dict[str, float]:
    """The sites that did not answer until a deadline, and nothing since; each with the time of the last one.

    A site that was offline, refused or failed has said so, and holds up nobody. An attempt that was closed
    before its deadline says nothing about those who had not answered yet.

    Parameters
    ----------
    timings
        In order of asking.
    """
    missed: dict[str, float] = {}
    for each in timings:
        if each.reason == NO_ANSWER:
            if each.closed_at is not None and each.closed_at >= each.deadline:
                missed[each.site_id] = each.closed_at
        elif each.state is not AnswerState.ASKED:
            missed.pop(each.site_id, None)
    return missed


def training_times_s(timings: Iterable[Timing]) -> list[float]:
    """How long each admitted answer of a training round took."""
    return [
        each.answered_at - each.asked_at
        for each in timings
        if each.phase is Phase.TRAIN and each.state is AnswerState.ADMITTED and each.answered_at is not None
    ]


def patience_s(timeout_s: float, took_s: Iterable[float]) -> float:
    """How long the next training round waits: several times the slowest answer, never beyond the timeout.

    Parameters
    ----------
    timeout_s
        The plan's, which holds as long as nobody has answered.
    took_s
        How long answers of past rounds took.
    """
    slowest_s = max(took_s, default=None)
    if slowest_s is None:
        return timeout_s
    return min(timeout_s, max(SHORTEST_S, TIMES_THE_SLOWEST * slowest_s))


def counting_patience_s(*, is_late: bool) -> float:
    """How long sites are waited for that count their examples, within the plan's timeout.

    Parameters
    ----------
    is_late
        The run goes on already: all others wait for those that have come later.
    """
    return SHORTEST_S if is_late else math.inf
