"""Runs that a person stops and resumes: what ends at once, what is kept, what goes on to the same bytes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from server.coordinator import Coordinator
from server.exchange import open_round
from server.home import CoordinatorHome
from server.launching import Launcher
from server.lifecycle import AnswerState, ConsentState, RoundState, RunState
from server.session import Session
from server.store import Checkpoint
from shared.errors import AggregationError, QuorumError
from shared.records import Phase
from shared.transfer.blob_ref import BlobRef
from tests.unit.server.simulated_federation import (
    RUN_ID,
    SITES,
    Asked,
    Silence,
    SimulatedFederation,
    SimulatedSite,
    fail,
    honest,
    refuse,
)

Make = Callable[..., SimulatedFederation]
PERSON = "person:ada"


def stop_in_round(federation: SimulatedFederation, number: int) -> None:
    """Let a person stop the run while the last site trains."""

    def be_stopped(_site: SimulatedSite, _asked: Asked) -> bytes:
        federation.coordinator.runs.stop(RUN_ID, actor=PERSON, at=time.time())
        raise Silence

    federation["cork"].does(be_stopped, honest, in_round=number)


def calm(found_federation: Make, number: int) -> SimulatedFederation:
    """A run that nobody stops, in which the same sites compute in the same attempts."""
    federation = found_federation(3, quorum=3, timeout_s=60)
    federation["cork"].does(fail, honest, in_round=number)
    federation.run()
    return federation


def let_go_on(federation: SimulatedFederation, *, seen_by: tuple[str, ...] | None = None) -> None:
    """Resume the run, and have the sites look at what is offered."""
    federation.coordinator.runs.resume(RUN_ID, actor=PERSON, at=time.time())
    for name in seen_by if seen_by is not None else tuple(federation.sites):
        federation.coordinator.consents.offer(RUN_ID, federation[name].site_id, at=time.time())


def test_a_run_that_is_stopped_in_a_round_ends_at_once_and_keeps_its_checkpoint(
    found_federation: Make,
) -> None:
    federation = found_federation(3)
    stop_in_round(federation, 2)
    began = time.monotonic()

    federation.run()

    assert time.monotonic() - began < federation.plan.rounds.timeout_s
    run = federation.coordinator.runs.get(RUN_ID)
    assert (run.state, run.failure) == (RunState.STOPPED, None)
    assert run.finished_at is not None
    assert federation.checkpoint.number == 1
    assert federation.coordinator.models.all() == []
    (interrupted,) = (one for one in federation.coordinator.runs.rounds(RUN_ID) if one.number == 2)
    assert interrupted.state is RoundState.VOID
    assert federation.answer_of("cork", 2) == (AnswerState.LOST, "the run was stopped")
    assert federation.coordinator.runs.unfinished() == []
    assert not federation.coordinator.runs.may_fetch("site-cork", interrupted.base.digest)
    (line,) = (each for each in federation.coordinator.audit.lines() if each.name == "run.stopped")
    assert (line.actor, line.subject) == (PERSON, RUN_ID)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_stopped_run_that_is_resumed_comes_to_the_bytes_of_a_calm_one(
    number: int, found_federation: Make
) -> None:
    stopped = found_federation(3, quorum=3, timeout_s=60)
    stop_in_round(stopped, number)
    stopped.run()

    let_go_on(stopped)
    stopped.resume()

    assert stopped.state is RunState.FINISHED
    assert stopped.checkpoint == calm(found_federation, number).checkpoint


def test_a_failed_run_that_is_resumed_goes_on_after_its_last_round(found_federation: Make) -> None:
    failed = found_federation(3, quorum=3, timeout_s=60)
    failed["cork"].does(refuse, refuse, refuse, honest, in_round=2)
    with pytest.raises(QuorumError):
        failed.run()

    let_go_on(failed)
    assert failed.coordinator.runs.get(RUN_ID).failure is None
    failed.resume()

    assert failed.state is RunState.FINISHED
    for number in (1, 2, 3):
        expected = failed.honest_mean(number, *SITES)
        for name, tensor in failed.weights(failed.aggregate_of(number)).items():
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)


def test_a_run_is_resumed_on_another_machine_that_has_the_home_folder(
    found_federation: Make, tmp_path: Path
) -> None:
    moved = found_federation(3, quorum=3, timeout_s=60)
    stop_in_round(moved, 2)
    moved.run()

    there = tmp_path / "elsewhere"
    shutil.copytree(moved.home.folder, there)
    shutil.rmtree(moved.home.folder)
    moved.home = CoordinatorHome(there)
    moved.coordinator = Coordinator.open(moved.home)
    for site in moved.sites.values():
        site.coordinator = moved.coordinator
    let_go_on(moved)
    moved.resume()

    assert moved.state is RunState.FINISHED
    assert moved.checkpoint == calm(found_federation, 2).checkpoint


def test_a_run_that_is_over_cannot_be_stopped_and_a_finished_one_not_resumed(
    federation: SimulatedFederation,
) -> None:
    federation.run()
    before = list(federation.coordinator.audit.lines())

    with pytest.raises(AggregationError):
        federation.coordinator.runs.stop(RUN_ID, actor=PERSON, at=time.time())
    with pytest.raises(AggregationError):
        federation.coordinator.runs.resume(RUN_ID, actor=PERSON, at=time.time())

    assert list(federation.coordinator.audit.lines()) == before
    assert federation.state is RunState.FINISHED


def test_resuming_a_run_that_is_going_changes_nothing(federation: SimulatedFederation) -> None:
    federation.channel.breaks_in_round = 2
    with pytest.raises(ConnectionError):
        federation.run()
    before = federation.coordinator.runs.get(RUN_ID)

    federation.coordinator.runs.resume(RUN_ID, actor=PERSON, at=time.time())

    assert federation.coordinator.runs.get(RUN_ID) == before


def test_no_round_is_opened_in_a_run_that_is_stopped(federation: SimulatedFederation) -> None:
    federation.coordinator.runs.stop(RUN_ID, actor=PERSON, at=time.time())
    session = Session(
        run=federation.coordinator.runs.get(RUN_ID),
        plan=federation.plan,
        channel=federation.channel,
        coordinator=federation.coordinator,
    )
    first = Checkpoint(number=0, weights=BlobRef.of(b"weights"), state=BlobRef.of(b"state"))

    federation.run()
    with pytest.raises(AggregationError, match="stopped"):
        open_round(session, session.coordinator.federation.active(), first, number=1, phase=Phase.TRAIN)

    assert federation.coordinator.runs.rounds(RUN_ID) == []


def test_a_site_approves_of_a_resumed_run_only_once_it_has_seen_that_it_is_open_again(
    federation: SimulatedFederation,
) -> None:
    federation.coordinator.runs.stop(RUN_ID, actor=PERSON, at=time.time())

    let_go_on(federation, seen_by=("bergen",))

    consents = federation.coordinator.consents
    assert consents.sites_in(ConsentState.APPROVED, RUN_ID) == {"site-bergen"}
    let_go_on(federation)
    assert len(consents.sites_in(ConsentState.APPROVED, RUN_ID)) == 3


def test_a_resumed_run_is_handed_over_once_more(federation: SimulatedFederation) -> None:
    handed_over: list[str] = []

    class Control:
        def start_run(self, run_id: str) -> int:
            handed_over.append(run_id)
            return 1

    launcher = Launcher(federation.coordinator, Control())
    launcher.follow_consents()
    launcher.follow_consents()
    assert handed_over == [RUN_ID]

    federation.coordinator.runs.stop(RUN_ID, actor=PERSON, at=time.time())
    let_go_on(federation)
    launcher.follow_consents()
    launcher.follow_consents()

    assert handed_over == [RUN_ID, RUN_ID]
