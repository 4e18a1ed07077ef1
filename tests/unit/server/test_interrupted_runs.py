"""Runs that are interrupted or fail, and what is kept of them: they go on from their last checkpoint."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import server.combining
import server.publication
import server.rounds
from server.lifecycle import AnswerState, RoundState, RunState
from shared.errors import (
    MammofedError,
    NonFiniteError,
    QuorumError,
)
from tests.unit.server.simulated_federation import (
    RUN_ID,
    SITES,
    Asked,
    SimulatedFederation,
    SimulatedSite,
    fail,
    go_offline,
    honest,
    refuse,
    small_plan,
)

Make = Callable[..., SimulatedFederation]
PATIENT_S = 60.0
"""For rounds in which every site answers, however slow the machine."""


@pytest.mark.parametrize("breaks_in_round", [1, 2, 3])
@pytest.mark.parametrize("num_asked", [0, 2, 3])
def test_an_interrupted_run_goes_on_from_its_last_checkpoint_to_the_bytes_of_a_calm_one(
    breaks_in_round: int, num_asked: int, found_federation: Make
) -> None:
    calm, interrupted = (found_federation(3, quorum=3, timeout_s=PATIENT_S) for _ in range(2))
    for name in list(SITES)[num_asked:]:  # the same sites compute in the same attempts
        calm[name].does(fail, honest, in_round=breaks_in_round)
    calm.run()
    interrupted.channel.breaks_in_round = breaks_in_round
    interrupted.channel.num_asked_before = num_asked
    with pytest.raises(ConnectionError):
        interrupted.run()
    assert interrupted.state is RunState.RUNNING
    first_rounds = [interrupted.aggregate_of(number) for number in range(1, breaks_in_round)]

    interrupted.resume()

    assert interrupted.state is RunState.FINISHED
    assert [interrupted.aggregate_of(number) for number in range(1, breaks_in_round)] == first_rounds
    assert interrupted.checkpoint == calm.checkpoint
    attempts = [one.attempt for one in interrupted.coordinator.runs.rounds(RUN_ID) if one.aggregate]
    assert attempts == [2 if number == breaks_in_round else 1 for number in (1, 2, 3)]


def test_sites_whose_plan_refuses_late_updates_compute_anew_after_an_interruption(tmp_path) -> None:
    plan = small_plan(2, quorum=3, timeout_s=PATIENT_S)
    plan = plan.model_copy(update={"rounds": plan.rounds.model_copy(update={"late_updates": "refuse"})})
    undisturbed, calm, interrupted = (SimulatedFederation(tmp_path / name, plan) for name in "uci")
    undisturbed.run()
    for site in calm.sites.values():
        site.does(fail, honest, in_round=2)
    calm.run()
    interrupted.channel.breaks_in_round, interrupted.channel.num_asked_before = 2, len(SITES)
    with pytest.raises(ConnectionError):
        interrupted.run()

    interrupted.resume()

    assert interrupted.checkpoint == calm.checkpoint
    assert interrupted.checkpoint.weights != undisturbed.checkpoint.weights


def test_an_attempt_that_an_interruption_left_open_is_void_and_lets_nothing_in_or_out(
    federation: SimulatedFederation,
) -> None:
    def cut_off(_site: SimulatedSite, _asked: Asked) -> bytes:
        raise ConnectionError

    federation["cork"].does(cut_off, in_round=2)
    with pytest.raises(ConnectionError):
        federation.run()
    base = federation.base_of(2)
    assert federation.coordinator.runs.may_fetch("site-cork", base.digest)

    federation["cork"].does(honest)
    federation["cork"].does(honest, in_round=2)
    federation.resume()

    first, second = (answer for answer in federation.answers_of("cork", 2))
    assert (first.state, first.reason) == (AnswerState.LOST, "the coordinator was interrupted")
    assert second.state is AnswerState.ADMITTED
    assert not federation.coordinator.runs.may_fetch("site-cork", base.digest)


def test_a_run_that_was_interrupted_after_publishing_ends_with_that_one_model(
    federation: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = type(federation.coordinator.runs).move

    def die(self, run_id: str, state: RunState, **details: object) -> None:
        if state is RunState.FINISHED:
            raise ConnectionError("the coordinator's process is killed")
        move(self, run_id, state, **details)

    with monkeypatch.context() as killed:
        killed.setattr(type(federation.coordinator.runs), "move", die)
        with pytest.raises(ConnectionError):
            federation.run()
    (published,) = federation.coordinator.models.all()

    federation.resume()

    assert federation.state is RunState.FINISHED
    assert federation.coordinator.models.all() == [published]


def test_a_checkpoint_that_the_disk_has_damaged_is_not_trained_on(found_federation: Make) -> None:
    federation = found_federation(3)
    federation.channel.breaks_in_round = 2
    with pytest.raises(ConnectionError):
        federation.run()
    blob = federation.coordinator.blobs.path(federation.checkpoint.weights.digest)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)

    with pytest.raises(MammofedError, match="damaged"):
        federation.resume()

    assert federation.state is RunState.FAILED
    (interrupted,) = (one for one in federation.coordinator.runs.rounds(RUN_ID) if one.number == 2)
    assert interrupted.state is RoundState.VOID


def test_an_aggregate_that_is_not_finite_stops_the_run_before_it_is_a_checkpoint(
    federation: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflow(site: SimulatedSite, asked: Asked) -> bytes:
        monkeypatch.setattr(server.combining, "LARGEST_FLOAT32", 0.001)
        return honest(site, asked)

    federation["bergen"].does(overflow, in_round=2)

    with pytest.raises(NonFiniteError):
        federation.run()

    assert federation.state is RunState.FAILED
    assert federation.checkpoint.number == 1
    assert federation.coordinator.models.all() == []


def test_updates_of_any_size_move_the_model_no_farther_than_the_rounds_grid(
    federation: SimulatedFederation,
) -> None:
    def scale_up(site: SimulatedSite, asked: Asked) -> bytes:
        update = {name: torch.full_like(tensor, 1e38) for name, tensor in asked.base.items()}
        return site.contribute(asked, update)

    for site in federation.sites.values():
        site.does(scale_up, in_round=1)

    federation.run()

    base, aggregate = federation.base_of(1), federation.aggregate_of(1)
    grid = federation["cork"].trained[1].grid(federation.weights(base))
    for name, tensor in federation.weights(aggregate).items():
        moved = (tensor - federation.weights(base)[name]).abs().max().item()
        assert moved <= 3 * grid.largest * grid.step(name) * (1 + 1e-6)  # three sites, all shares answered


def test_a_single_sites_update_is_dropped_after_its_round(federation: SimulatedFederation) -> None:
    federation.run()

    kept = federation.coordinator.blobs.digests()
    updates = [
        answer.contribution.update.digest
        for answer in federation.coordinator.runs.answers(RUN_ID)
        if answer.contribution is not None and answer.contribution.update is not None
    ]
    assert len(updates) == 6
    assert not set(updates) & set(kept)


def test_no_update_of_a_run_that_has_failed_is_kept(federation: SimulatedFederation) -> None:
    for name in ("bergen", "cork"):
        federation[name].does(refuse, in_round=2)

    with pytest.raises(QuorumError):
        federation.run()

    assert federation.updates_here() == set()


def test_every_transition_of_a_run_is_in_the_trail(federation: SimulatedFederation) -> None:
    federation["aarhus"].does(go_offline, in_round=2)

    federation.run()

    names = [line.name for line in federation.coordinator.audit.lines(subject=RUN_ID)]
    assert names[:4] == ["run.submitted", "run.running", "round.opened", "answer.admitted"]
    assert names.count("round.opened") == names.count("round.aggregated") == 4
    assert names.count("answer.admitted") == 3 + 3 + 2 + 2
    assert names.count("answer.lost") == 1
    assert names[-1] == "run.finished"
