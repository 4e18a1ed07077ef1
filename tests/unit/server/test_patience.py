"""Whom a round waits for, and how long: a site that never answers costs one deadline in a whole run."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import server.patience
from server.lifecycle import AnswerState, RoundState, RunState
from server.patience import missed_deadlines, patience_s, training_times_s
from server.store import Round, Timing
from server.store.run import INTERRUPTED, NO_ANSWER
from shared.errors import QuorumError
from shared.records import Phase
from tests.unit.server.simulated_federation import (
    RUN_ID,
    Asked,
    SimulatedFederation,
    SimulatedSite,
    honest,
    refuse,
    stay_silent,
)

Make = Callable[..., SimulatedFederation]


@pytest.fixture(autouse=True)
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.patience, "SHORTEST_S", 2.0)


def training_rounds(federation: SimulatedFederation) -> list[Round]:
    return [one for one in federation.coordinator.runs.rounds(RUN_ID) if one.phase is Phase.TRAIN]


def waited_out(federation: SimulatedFederation) -> list[int]:
    """The rounds that were closed by their deadline."""
    return [one.number for one in training_rounds(federation) if (one.closed_at or 0) >= one.deadline]


# -- a whole run


def test_a_site_that_hangs_costs_one_deadline_in_the_whole_run(found_federation: Make) -> None:
    federation = found_federation(5)
    federation["aarhus"].does(honest, in_round=1)
    federation["aarhus"].does(stay_silent)

    federation.run()

    assert federation.state is RunState.FINISHED
    assert waited_out(federation) == [2]
    assert [occasion.round_number for occasion in federation["aarhus"].asked] == [1, 2, 3, 4, 5, 5]
    assert [federation.answer_of("bergen", number)[0] for number in range(1, 6)] == [AnswerState.ADMITTED] * 5


def test_a_site_that_hangs_when_it_is_counted_costs_one_deadline(found_federation: Make) -> None:
    federation = found_federation(3)
    federation["aarhus"].counts = stay_silent

    federation.run()

    deadlines = [
        one for one in federation.coordinator.runs.rounds(RUN_ID) if (one.closed_at or 0) >= one.deadline
    ]
    assert [one.phase for one in deadlines] == [Phase.COUNT]
    assert federation.state is RunState.FINISHED


def test_a_site_that_answers_too_late_is_waited_for_again(found_federation: Make) -> None:
    federation = found_federation(4)
    channel, receive = federation.channel, federation.channel.receive
    held: list[str] = []

    def hold_back(message_ids):
        """Of the third site, the answer in round 2 comes when it is asked in round 3, and that one slowly."""
        replies = receive(message_ids)
        for reply in [each for each in replies if len(federation["aarhus"].asked) == 2]:
            if reply.envelope == federation["aarhus"].said[-1]:
                held.append(reply.message_id)
                channel._replies[reply.message_id] = reply
                replies.remove(reply)
        return replies

    channel.receive = hold_back  # type: ignore[method-assign]

    federation.run()

    assert held
    assert waited_out(federation) == [2]
    assert federation.answer_of("aarhus", 2) == (AnswerState.LOST, NO_ANSWER)
    assert federation.answer_of("aarhus", 4) == (AnswerState.ADMITTED, None)


def test_a_site_whose_node_was_started_since_its_missed_deadline_is_waited_for_again(
    found_federation: Make,
) -> None:
    federation = found_federation(4)
    aarhus, bergen = federation["aarhus"], federation["bergen"]
    aarhus.does(honest, in_round=1)
    aarhus.does(stay_silent)

    def restart_the_other(site: SimulatedSite, asked: Asked) -> bytes:
        aarhus.online_since = time.time()
        return honest(site, asked)

    bergen.does(restart_the_other, in_round=3)

    federation.run()

    # In the next round; or in the one in which it is back, if that is seen before all others have answered.
    assert waited_out(federation) in ([2, 4], [2, 3])


def test_a_site_that_hung_is_waited_for_where_the_quorum_needs_it(found_federation: Make) -> None:
    federation = found_federation(3, quorum=3)
    federation["aarhus"].does(stay_silent, honest, in_round=2)

    federation.run()

    assert federation.state is RunState.FINISHED
    tried = [(one.number, one.attempt, one.state) for one in training_rounds(federation)]
    assert tried == [
        (1, 1, RoundState.AGGREGATED),
        (2, 1, RoundState.VOID),
        (2, 2, RoundState.AGGREGATED),
        (3, 1, RoundState.AGGREGATED),
    ]


def test_a_round_closes_at_its_deadline_with_at_least_the_quorum_and_is_void_with_less(
    found_federation: Make,
) -> None:
    federation = found_federation(2)
    federation["aarhus"].does(stay_silent, in_round=2)
    federation["bergen"].does(stay_silent, honest, in_round=2)

    federation.run()

    first, second = (one for one in training_rounds(federation) if one.number == 2)
    assert (first.state, second.state) == (RoundState.VOID, RoundState.AGGREGATED)
    assert first.aggregate is None
    assert (first.closed_at or 0) >= first.deadline


def test_a_round_closes_before_its_deadline_when_all_have_answered(federation: SimulatedFederation) -> None:
    federation["aarhus"].does(refuse, in_round=2)

    federation.run()

    assert waited_out(federation) == []


def test_a_site_that_stays_alone_is_never_published_however_long_others_hang(found_federation: Make) -> None:
    federation = found_federation(2)
    for name in ("aarhus", "bergen"):
        federation[name].does(stay_silent, in_round=2)

    with pytest.raises(QuorumError):
        federation.run()

    assert federation.checkpoint.number == 1
    assert federation.coordinator.models.all() == []


# -- the decisions


def timing(
    *,
    state: AnswerState = AnswerState.LOST,
    reason: str | None = NO_ANSWER,
    closed_at: float | None = 100.0,
    phase: Phase = Phase.TRAIN,
    took_s: float | None = None,
) -> Timing:
    return Timing(
        site_id="site-a",
        phase=phase,
        state=state,
        reason=reason,
        asked_at=0.0,
        answered_at=took_s,
        deadline=100.0,
        closed_at=closed_at,
    )


ADMITTED = timing(state=AnswerState.ADMITTED, reason=None, took_s=7.0)


@pytest.mark.parametrize(
    ("timings", "missed"),
    [
        ([], {}),
        ([timing()], {"site-a": 100.0}),
        ([ADMITTED, timing()], {"site-a": 100.0}),
        ([timing(), ADMITTED], {}),
        ([timing(), timing(state=AnswerState.REFUSED, reason="NotReadyError")], {}),
        ([timing(closed_at=50.0)], {}),
        ([timing(), timing(closed_at=50.0)], {"site-a": 100.0}),
        ([timing(), timing(state=AnswerState.ASKED, reason=None, closed_at=None)], {"site-a": 100.0}),
        ([timing(reason=INTERRUPTED, closed_at=900.0)], {}),
        ([timing(reason="the site went offline")], {}),
    ],
)
def test_a_deadline_is_missed_only_by_who_was_waited_for_and_has_not_answered_since(timings, missed) -> None:
    assert missed_deadlines(timings) == missed


def test_times_are_those_of_admitted_answers_of_training() -> None:
    counted = timing(state=AnswerState.ADMITTED, reason=None, phase=Phase.COUNT, took_s=1.0)
    refused = timing(state=AnswerState.REFUSED, reason="NotReadyError", took_s=2.0)

    assert training_times_s([counted, refused, ADMITTED, timing()]) == [7.0]


@pytest.mark.parametrize(
    ("took_s", "expected"),
    [([], 3600.0), ([10.0], 60.0), ([10.0, 100.0], 300.0), ([5000.0], 3600.0)],
)
def test_patience_is_three_times_the_slowest_answer_within_its_bounds(
    took_s: list[float], expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.patience, "SHORTEST_S", 60.0)

    assert patience_s(3600.0, took_s) == expected


def test_patience_never_exceeds_a_timeout_that_is_shorter_than_its_floor() -> None:
    assert patience_s(0.5, [0.1]) == 0.5
