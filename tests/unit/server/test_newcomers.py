"""Sites that come into a run that goes on already."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import server.patience
from server.lifecycle import RunState
from shared.records import Phase
from tests.unit.server.simulated_federation import (
    RUN_ID,
    Asked,
    SimulatedFederation,
    SimulatedSite,
    honest,
    stay_silent,
)

Make = Callable[..., SimulatedFederation]


def test_a_newcomer_that_hangs_when_it_is_counted_holds_up_the_others_once_and_briefly(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.patience, "SHORTEST_S", 0.5)
    federation = found_federation(4)
    aarhus, bergen = federation["aarhus"], federation["bergen"]
    aarhus.online_since, aarhus.counts = None, stay_silent

    def bring_the_other(site: SimulatedSite, asked: Asked) -> bytes:
        aarhus.online_since = aarhus.online_since or time.time()
        return honest(site, asked)

    bergen.does(bring_the_other, in_round=1)

    federation.run()

    counting = [one for one in federation.coordinator.runs.rounds(RUN_ID) if one.phase is Phase.COUNT]
    waits = [one.deadline - one.opened_at for one in counting]
    assert waits[0] == federation.plan.rounds.timeout_s
    assert waits[1:] == pytest.approx([0.5] * 3)
    held_up = [one.attempt for one in counting if (one.closed_at or 0) >= one.deadline]
    assert held_up == [2]
    assert federation.state is RunState.FINISHED
