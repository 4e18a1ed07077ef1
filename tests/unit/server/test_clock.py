"""The coordinator's clock goes wrong: sites and its own records tell, runs wait until it is mended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from server import clock as clock_module
from server.clock import Clock, Steadiness, judge
from server.coordinator import Coordinator
from server.flower import runner
from server.lifecycle import AnswerState, RoundState, RunState
from shared.audit.events import ClockJudged
from shared.errors import ClockError
from shared.records import Phase
from tests.unit.server.simulated_federation import (
    RUN_ID,
    Asked,
    SimulatedFederation,
    SimulatedSite,
    honest,
)

Make = Callable[..., SimulatedFederation]
DAY_S = 86_400.0
WRONG_FOR_S = 0.5


@pytest.mark.parametrize(
    ("sites_ahead_s", "expected"),
    [
        ([], None),
        ([0.1], 0.0),
        ([-299.0, 4.0], 0.0),
        ([-DAY_S], None),
        ([-DAY_S, -DAY_S - 1], DAY_S + 1),
        ([DAY_S, DAY_S + 2, DAY_S + 1], -DAY_S - 1),
        ([-DAY_S, -DAY_S, 0.0], DAY_S),
        ([-DAY_S, 0.0, 0.0], 0.0),
        ([-DAY_S, 0.0], None),
        ([-DAY_S, DAY_S], None),
        ([-DAY_S, DAY_S, 3 * DAY_S], None),
        ([6.0, 6.0], -6.0),
    ],
)
def test_most_sites_that_agree_with_each_other_are_believed_against_the_clock(
    sites_ahead_s: list[float], expected: float | None
) -> None:
    assert judge(sites_ahead_s) == expected


@pytest.fixture
def coordinator(federation: SimulatedFederation) -> Coordinator:
    return federation.coordinator


def test_a_clock_is_right_until_something_speaks_against_it(coordinator: Coordinator) -> None:
    coordinator.clock.require_right()

    assert coordinator.clock.trouble() == ""
    assert coordinator.audit.last(ClockJudged, subject="coordinator") is None


def test_by_how_much_it_is_wrong_is_told_and_written_down_once(coordinator: Coordinator) -> None:
    for ahead_s in (DAY_S, DAY_S + 3, DAY_S - 2):
        coordinator.clock.note(ahead_s, now=time.time())

    with pytest.raises(ClockError, match="86400 seconds ahead of its sites'"):
        coordinator.clock.require_right()
    told = [line.details for line in coordinator.audit.lines() if line.name == ClockJudged.name]
    assert told == [{"standing": "ahead", "off_s": 86_400}]

    coordinator.clock.note(0.0, now=time.time())
    coordinator.clock.require_right()


def test_a_clock_behind_the_audit_log_is_wrong_until_sites_agree_with_it(coordinator: Coordinator) -> None:
    now = time.time()

    assert not coordinator.clock.contradicts_own_records(now=now - 60)
    for _ in range(2):  # what is noted by the wrong clock makes it no better at the next start
        assert coordinator.clock.contradicts_own_records(now=now - DAY_S)

    with pytest.raises(ClockError, match="seconds behind its sites' or its own records"):
        coordinator.clock.require_right()
    coordinator.clock.note(0.0, now=now - DAY_S)
    coordinator.clock.require_right()


def test_a_clock_that_is_set_is_noticed_and_one_that_drifts_is_not() -> None:
    wall, steady = [1000.0], [10.0]
    steadiness = Steadiness(lambda: wall[0], lambda: steady[0])

    wall[0], steady[0] = 5002.0, 4010.0
    steadiness.require()
    wall[0] -= DAY_S
    with pytest.raises(ClockError, match="set by -86398 seconds"):
        steadiness.require()


# -- a run


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """How far the clock of this machine is wrong, as a run sees it; it tries again soon."""
    off_s = [0.0]
    real = clock_module.time_since_boot
    monkeypatch.setattr(
        Steadiness.__init__, "__defaults__", (lambda: time.time() + off_s[0], real), raising=False
    )
    monkeypatch.setattr(runner, "RETRY_S", 0.05)
    yield off_s


def carry_through(federation: SimulatedFederation) -> None:
    runner.carry_through(RUN_ID, federation.channel, federation.coordinator)


def attempts(federation: SimulatedFederation) -> list[tuple[int, int, RoundState]]:
    return [
        (each.number, each.attempt, each.state)
        for each in federation.coordinator.runs.rounds(RUN_ID)
        if each.phase is Phase.TRAIN
    ]


def test_a_clock_that_is_set_amid_a_round_makes_it_begin_anew_and_costs_nobody_its_part(
    found_federation: Make, wall: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed, federation = found_federation(2), found_federation(2)
    undisturbed.run()

    def set_the_clock(site: SimulatedSite, asked: Asked) -> bytes:
        if asked.occasion.attempt == 1:
            wall[0] = DAY_S
        return honest(site, asked)

    federation["bergen"].does(set_the_clock, in_round=2)
    carry_through(federation)

    assert federation.state is RunState.FINISHED
    assert attempts(federation) == [
        (1, 1, RoundState.AGGREGATED),
        (2, 1, RoundState.VOID),
        (2, 2, RoundState.AGGREGATED),
    ]
    assert all(federation.answers_of(name, 2)[-1].state is AnswerState.ADMITTED for name in federation.sites)
    assert "the run waits: The coordinator's clock was set by +86400 seconds" in caplog.text
    assert federation.checkpoint == undisturbed.checkpoint


def test_a_run_waits_while_sites_speak_against_the_clock_and_publishes_nothing(
    found_federation: Make, wall: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    undisturbed, federation = found_federation(2), found_federation(2)
    undisturbed.run()
    clock, models = federation.coordinator.clock, federation.coordinator.models
    published_meanwhile = []

    def mend() -> None:
        published_meanwhile.append(models.of_run(RUN_ID))
        clock.note(0.0, now=time.time())

    def speak_against_it(site: SimulatedSite, asked: Asked) -> bytes:
        if asked.occasion.phase is Phase.TRAIN and asked.occasion.attempt == 1:
            clock.note(-DAY_S, now=time.time())
            threading.Timer(WRONG_FOR_S, mend).start()
        return honest(site, asked)

    federation["bergen"].does(speak_against_it, in_round=2)
    began = time.monotonic()
    carry_through(federation)

    assert time.monotonic() - began > WRONG_FOR_S
    assert published_meanwhile == [None]
    assert federation.state is RunState.FINISHED
    assert models.of_run(RUN_ID) is not None
    assert "the run waits: The coordinator's clock is 86400 seconds behind" in caplog.text
    assert federation.checkpoint == undisturbed.checkpoint


def test_a_run_can_be_stopped_while_the_clock_is_wrong(found_federation: Make, wall: list[float]) -> None:
    federation = found_federation(2)
    Clock(federation.coordinator.audit).note(DAY_S, now=time.time())
    runs = federation.coordinator.runs
    threading.Timer(WRONG_FOR_S, lambda: runs.stop(RUN_ID, actor="test", at=time.time())).start()

    carry_through(federation)

    assert federation.state is RunState.STOPPED
    assert attempts(federation) == []
