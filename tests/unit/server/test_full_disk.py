"""The coordinator's disk fills up in the middle of a run: the run waits, says so, and loses nothing by it."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable

import pytest

from server.flower import runner
from server.lifecycle import RoundState, RunState
from shared.records import Phase
from tests.unit.server.simulated_federation import (
    RUN_ID,
    Asked,
    SimulatedFederation,
    SimulatedSite,
    honest,
)

Make = Callable[..., SimulatedFederation]
FULL_FOR_S = 0.5


def test_a_run_on_a_full_disk_goes_on_when_there_is_space_and_comes_to_the_same_bytes(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed, federation = found_federation(3), found_federation(3)
    undisturbed.run()
    monkeypatch.setattr(runner, "RETRY_S", 0.1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def free() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def fill_the_disk(site: SimulatedSite, asked: Asked) -> bytes:
        said = honest(site, asked)
        if asked.occasion.attempt == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
            threading.Timer(FULL_FOR_S, free).start()
        return said

    federation["bergen"].does(fill_the_disk, in_round=2)
    try:
        runner.carry_through(RUN_ID, federation.channel, federation.coordinator)
    finally:
        free()

    rounds = [
        (each.number, each.attempt, each.state)
        for each in federation.coordinator.runs.rounds(RUN_ID)
        if each.phase is Phase.TRAIN
    ]
    assert federation.state is RunState.FINISHED
    assert rounds[0] == (1, 1, RoundState.AGGREGATED)
    assert rounds[1] == (2, 1, RoundState.VOID)
    assert rounds[2:] == [(2, 2, RoundState.AGGREGATED), (3, 1, RoundState.AGGREGATED)]
    assert "the run waits: " in caplog.text
    assert federation.checkpoint == undisturbed.checkpoint


def test_a_run_whose_checkpoint_is_gone_has_failed_and_waits_for_nothing(found_federation: Make) -> None:
    federation = found_federation(2)

    def lose_the_base(site: SimulatedSite, asked: Asked) -> bytes:
        said = honest(site, asked)
        federation.coordinator.blobs.remove(asked.announcement.base.digest)
        return said

    federation["cork"].does(lose_the_base, in_round=2)

    runner.carry_through(RUN_ID, federation.channel, federation.coordinator)

    assert federation.state is RunState.FAILED
    assert federation.checkpoint.number == 1
