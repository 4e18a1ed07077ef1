"""What an attempt that came to nothing has admitted counts in the next one, once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import server.rounds
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.lifecycle import AnswerState, RoundState, RunState
from server.session import present
from server.store import Run
from shared.audit.events import AnswerAdmitted, RoundOpened
from shared.consent.records import Verdict
from shared.errors import QuorumError
from shared.plan import AggregationPlan
from shared.records import Occasion, Phase
from tests.unit.server.simulated_federation import (
    RUN_ID,
    SITES,
    SimulatedFederation,
    fail,
    honest,
    refuse,
    small_plan,
)

Make = Callable[..., SimulatedFederation]
PATIENT_S = 30


@pytest.fixture(autouse=True)
def evaluation_of_whoever_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are of rounds; the evaluation after them would wait for the sites that are gone."""
    monkeypatch.setattr(server.rounds, "gather_any", lambda session, **_: present(session))


def interrupt(federation: SimulatedFederation, monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Run until so many answers to round 2 are admitted; there the coordinator's process is killed."""
    runs = type(federation.coordinator.runs)
    record, admitted = runs.record_answer, []

    def record_and_die(self, occasion: Occasion, state: AnswerState, **details: object) -> None:
        record(self, occasion, state, **details)
        if (occasion.phase, occasion.round_number, state) == (Phase.TRAIN, 2, AnswerState.ADMITTED):
            admitted.append(occasion.site_id)
            if len(admitted) == after:
                raise ConnectionError("the coordinator's process is killed")

    with monkeypatch.context() as killed:
        killed.setattr(runs, "record_answer", record_and_die)
        with pytest.raises(ConnectionError):
            federation.run()


def are_gone(federation: SimulatedFederation, *names: str) -> None:
    for name in names:
        federation[name].online_since = None


def attempts_asked_of(federation: SimulatedFederation, name: str) -> list[int]:
    return [
        each.attempt for each in federation[name].asked if (each.round_number, each.phase) == (2, "train")
    ]


def test_what_a_site_gave_before_an_interruption_counts_though_the_site_is_gone_for_good(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, interrupted = (found_federation(2, timeout_s=PATIENT_S) for _ in range(2))
    calm.run()
    interrupt(interrupted, monkeypatch, after=1)
    are_gone(interrupted, "aarhus")

    interrupted.resume()

    assert interrupted.state is RunState.FINISHED
    assert interrupted.checkpoint == calm.checkpoint
    assert attempts_asked_of(interrupted, "aarhus") == [1]
    assert [each.state for each in interrupted.answers_of("aarhus", 2)] == [AnswerState.ADMITTED] * 2


def test_a_round_of_which_all_was_admitted_asks_nobody_again(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, interrupted = (found_federation(2, quorum=3, timeout_s=PATIENT_S) for _ in range(2))
    calm.run()
    interrupt(interrupted, monkeypatch, after=3)
    are_gone(interrupted, *SITES)

    with pytest.raises(QuorumError, match="no site has evaluated it"):
        interrupted.resume()

    assert interrupted.coordinator.models.of_run(RUN_ID) is not None
    assert interrupted.checkpoint == calm.checkpoint
    assert {tuple(attempts_asked_of(interrupted, name)) for name in SITES} == {(1,)}


@pytest.mark.parametrize("strategy", ["median", "scaffold"])
def test_answers_are_carried_over_under_any_strategy(
    strategy: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small_plan(2, quorum=3, timeout_s=PATIENT_S)
    aggregation = AggregationPlan.model_validate({"strategy": strategy})
    plan = plan.model_copy(update={"aggregation": aggregation})
    calm, interrupted = (SimulatedFederation(tmp_path / name, plan) for name in "ci")
    calm.run()
    interrupt(interrupted, monkeypatch, after=2)
    are_gone(interrupted, "aarhus", "bergen")

    interrupted.resume()

    assert interrupted.checkpoint == calm.checkpoint


def test_an_answer_is_carried_over_as_often_as_the_coordinator_is_interrupted(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, interrupted = (found_federation(2, quorum=3, timeout_s=PATIENT_S) for _ in range(2))
    calm.run()
    interrupt(interrupted, monkeypatch, after=1)
    interrupt(interrupted, monkeypatch, after=1)
    are_gone(interrupted, "aarhus", "bergen")

    interrupted.resume()

    assert interrupted.checkpoint == calm.checkpoint
    assert len(interrupted.answers_of("aarhus", 2)) == 3


def test_an_attempt_below_its_quorum_keeps_what_it_has_and_the_next_asks_the_others(
    found_federation: Make,
) -> None:
    federation = found_federation(2, quorum=3)
    federation["cork"].does(refuse, honest, in_round=2)

    federation.run()

    attempts = [one.state for one in federation.coordinator.runs.rounds(RUN_ID) if one.number == 2]
    assert attempts[:2] == [RoundState.VOID, RoundState.AGGREGATED]
    assert attempts_asked_of(federation, "aarhus") == [1]
    assert attempts_asked_of(federation, "cork") == [1, 2]
    assert federation.coordinator.runs.waiting_updates() == set()


def test_a_plan_that_refuses_late_updates_carries_nothing_over(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small_plan(2, quorum=2, timeout_s=PATIENT_S)
    plan = plan.model_copy(update={"rounds": plan.rounds.model_copy(update={"late_updates": "refuse"})})
    federation = SimulatedFederation(tmp_path, plan)
    interrupt(federation, monkeypatch, after=1)
    are_gone(federation, "aarhus")

    federation.resume()

    assert federation.state is RunState.FINISHED
    assert len(federation.answers_of("aarhus", 2)) == 1


def revoke(federation: SimulatedFederation) -> None:
    federation.coordinator.memberships.revoke("aarhus", reason=None, now=time.time(), actor="test")


def withdraw(federation: SimulatedFederation) -> None:
    federation.decide("aarhus", Verdict.REFUSED, number=2)


@pytest.mark.parametrize("leave", [revoke, withdraw])
def test_what_a_site_gave_that_has_left_since_is_not_carried_over(
    leave: Callable[[SimulatedFederation], None], found_federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = found_federation(2, timeout_s=PATIENT_S)
    interrupt(federation, monkeypatch, after=1)
    leave(federation)

    federation.resume()

    assert federation.state is RunState.FINISHED
    assert len(federation.answers_of("aarhus", 2)) == 1


def test_a_carried_update_that_the_disk_has_damaged_is_asked_for_again(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, interrupted = (found_federation(2, quorum=3, timeout_s=PATIENT_S) for _ in range(2))
    calm.run()
    interrupt(interrupted, monkeypatch, after=2)
    (damaged,) = interrupted.answers_of("aarhus", 2)
    assert damaged.contribution is not None
    assert damaged.contribution.update is not None
    path = interrupted.coordinator.blobs.path(damaged.contribution.update.digest)
    path.chmod(0o600)
    path.write_bytes(bytes(damaged.contribution.update.size_bytes))

    interrupted.resume()

    assert interrupted.checkpoint == calm.checkpoint
    assert attempts_asked_of(interrupted, "aarhus") == [1, 2]
    assert attempts_asked_of(interrupted, "bergen") == [1]


def test_another_runs_rounds_leave_what_an_interrupted_run_has_admitted(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm, interrupted = (found_federation(2, timeout_s=PATIENT_S) for _ in range(2))
    calm.run()
    interrupt(interrupted, monkeypatch, after=1)
    other = Run.under(small_plan(1), run_id="run-2", created_at=time.time())
    interrupted.coordinator.runs.submit(other, actor="test")
    interrupted.approve(other)
    interrupted.run("run-2")
    assert interrupted.coordinator.runs.get("run-2").state is RunState.FINISHED
    are_gone(interrupted, "aarhus")

    interrupted.resume()

    assert interrupted.checkpoint == calm.checkpoint


def test_a_run_goes_on_on_another_machine_that_is_given_the_home_folder(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calm, moved = (found_federation(3, timeout_s=PATIENT_S) for _ in range(2))
    calm.run()
    interrupt(moved, monkeypatch, after=1)
    there = tmp_path / "there"
    shutil.copytree(moved.home.folder, there)
    shutil.rmtree(moved.home.folder)  # whatever pointed to the old place would miss it

    moved.home = CoordinatorHome(there)
    for site in moved.sites.values():
        site.coordinator = Coordinator.open(moved.home)
    moved.resume()

    assert moved.state is RunState.FINISHED
    assert moved.checkpoint == calm.checkpoint


def test_no_update_waits_for_a_run_that_a_person_has_stopped(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = found_federation(2, timeout_s=PATIENT_S)
    interrupt(federation, monkeypatch, after=2)
    assert len(federation.coordinator.runs.waiting_updates()) == 2

    federation.coordinator.runs.stop(RUN_ID, actor="test", at=time.time())

    assert federation.coordinator.runs.waiting_updates() == set()


def test_an_admission_is_told_once_however_often_it_counts_on(
    found_federation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = found_federation(2, timeout_s=PATIENT_S)
    interrupt(federation, monkeypatch, after=1)

    federation.resume()

    lines = list(federation.coordinator.audit.lines(subject=RUN_ID))
    of_round = [line for line in lines if line.name == AnswerAdmitted.name and line.details["number"] == 2]
    trained = [line.actor for line in of_round if line.details["phase"] == "train"]
    assert sorted(trained) == ["site-aarhus", "site-bergen", "site-cork"]
    opened = [line for line in lines if line.name == RoundOpened.name and line.details["number"] == 2]
    assert [line.details["carried"] for line in opened if line.details["phase"] == "train"] == [
        [],
        ["site-aarhus"],
    ]


def test_a_single_carried_answer_is_no_round(found_federation: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = found_federation(2, timeout_s=5)
    interrupt(federation, monkeypatch, after=1)
    for name in ("bergen", "cork"):
        federation[name].does(fail, in_round=2)

    with pytest.raises(QuorumError):
        federation.resume()

    assert federation.checkpoint.number == 1
    assert federation.coordinator.models.all() == []
