"""A site is told which of its contributions counts, and why one was not let in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import server.rounds
from server.lifecycle import RoundState
from shared.records import Announcement, Counted, Phase
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
pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)


def without_an_update(site: SimulatedSite, asked: Asked) -> bytes:
    if asked.occasion.phase is not Phase.TRAIN:
        return honest(site, asked)
    return site.signed(site.contribution(asked, None))


def announced(federation: SimulatedFederation, name: str, number: int) -> Announcement:
    return federation[name].trained[number].announcement


def test_what_was_not_let_in_is_told_with_its_reason_until_something_counts_again(
    found_federation: Make,
) -> None:
    federation = found_federation(4)
    federation["bergen"].does(without_an_update, in_round=2)

    federation.run()

    first, second, third, fourth = (announced(federation, "bergen", number) for number in (1, 2, 3, 4))
    assert (first.counted, first.rejected) == (None, None)
    assert (second.counted, second.rejected) == (Counted(run_id=RUN_ID, round_number=1), None)
    assert third.counted == Counted(run_id=RUN_ID, round_number=1)
    assert third.rejected is not None
    assert (third.rejected.round_number, third.rejected.attempt) == (2, 1)
    assert third.rejected.reason == federation.answer_of("bergen", 2)[1]
    assert (fourth.counted, fourth.rejected) == (Counted(run_id=RUN_ID, round_number=3), None)
    others = announced(federation, "cork", 3)
    assert (others.counted, others.rejected) == (Counted(run_id=RUN_ID, round_number=2), None)


def test_what_came_too_late_does_not_count(found_federation: Make) -> None:
    federation = found_federation(3)
    federation["aarhus"].does(stay_silent, in_round=2)

    federation.run()

    told = announced(federation, "aarhus", 3)
    assert (told.counted, told.rejected) == (Counted(run_id=RUN_ID, round_number=1), None)


def test_what_was_admitted_into_an_attempt_that_came_to_nothing_and_is_not_carried_over_does_not_count(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.rounds, "waiting_answers", lambda *_: [])
    federation = found_federation(2, quorum=3)
    told: list[Announcement] = []

    def listen(site: SimulatedSite, asked: Asked) -> bytes:
        told.append(asked.announcement)
        return honest(site, asked)

    federation["aarhus"].does(listen)
    federation["cork"].does(refuse, honest, in_round=2)

    federation.run()

    tried = [one for one in federation.coordinator.runs.rounds(RUN_ID) if one.phase is Phase.TRAIN]
    assert [one.state for one in tried if one.number == 2] == [RoundState.VOID, RoundState.AGGREGATED]
    assert [(one.occasion.round_number, one.counted) for one in told if one.counted is not None] == [
        (2, Counted(run_id=RUN_ID, round_number=1)),
        (2, Counted(run_id=RUN_ID, round_number=1)),
        (2, Counted(run_id=RUN_ID, round_number=2)),  # asked for the evaluation of the final weights
    ]
