"""Runs from the first weights to the published model: what they come to, and what they survive."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import server.combining
import server.publication
import server.rounds
from server.curves import draw_curves
from server.exchange import OTHER_VERSION
from server.lifecycle import AnswerState, RoundState, RunState
from server.registry import download
from server.session import Session, gather, gather_any
from shared.errors import (
    AggregationError,
    MammofedError,
    QuorumError,
    StoreError,
    TransferError,
)
from shared.model import initial_model
from shared.model.weights import to_bytes, weights_of
from shared.package import CURVES, LINEAGE, METRICS, MODEL_CARD, PLAN, WEIGHTS
from shared.plan import Plan
from shared.records import Phase
from shared.transfer.blob_ref import BlobRef
from tests.unit.server.simulated_federation import (
    RUN_ID,
    Asked,
    SimulatedFederation,
    SimulatedSite,
    fail,
    go_offline,
    honest,
    refuse,
    restart,
    stay_silent,
    understand_nothing,
)

Make = Callable[..., SimulatedFederation]
PATIENT_S = 60.0
"""For rounds in which every site answers, however slow the machine."""


def final_sha256(federation: SimulatedFederation) -> str:
    checkpoint = federation.checkpoint
    federation.coordinator.blobs.verify(checkpoint.weights)
    return checkpoint.weights.digest


def test_a_run_starts_from_the_plans_first_weights_and_asks_every_site_in_every_round(
    found_federation: Make,
) -> None:
    federation = found_federation(3)

    federation.run()

    assert federation.state is RunState.FINISHED
    first = to_bytes(weights_of(initial_model(federation.plan)))
    assert federation.base_of(1) == BlobRef.of(first)
    asked = [(each.round_number, each.attempt, each.phase) for each in federation["cork"].asked]
    assert asked == [
        (1, 1, Phase.TRAIN),
        (2, 1, Phase.TRAIN),
        (3, 1, Phase.TRAIN),
        (3, 1, Phase.EVALUATE),
    ]
    assert [federation.base_of(number) for number in (2, 3)] == [
        federation.aggregate_of(number) for number in (1, 2)
    ]


def test_the_aggregate_is_the_mean_of_the_updates_weighted_by_examples(found_federation: Make) -> None:
    federation = found_federation(1, sites={"aarhus": 1, "bergen": 3})
    steps = {"aarhus": 1.0, "bergen": -0.5}

    def constant(site: SimulatedSite, asked: Asked) -> bytes:
        if asked.occasion.phase is Phase.EVALUATE:
            return honest(site, asked)
        step = steps[site.name]
        return site.contribute(asked, {name: torch.full_like(t, step) for name, t in asked.base.items()})

    for site in federation.sites.values():
        site.does(constant)

    federation.run()

    base, final = federation.weights(federation.base_of(1)), federation.weights(federation.aggregate_of(1))
    for name, tensor in final.items():
        # (1 * 1.0 + 3 * -0.5) / 4
        expected = (base[name].double() - 0.125).float()
        np.testing.assert_array_equal(tensor.numpy(), expected.numpy())


def test_three_rounds_give_the_same_bytes_in_every_execution(found_federation: Make) -> None:
    digests = set()
    for _ in range(2):
        federation = found_federation(3)
        federation.run()
        content = federation.coordinator.blobs.path(federation.checkpoint.weights.digest).read_bytes()
        digests.add(hashlib.sha256(content).hexdigest())

    assert len(digests) == 1


def test_a_finished_run_publishes_a_signed_model_that_verifies(
    federation: SimulatedFederation, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.publication, "draw_curves", draw_curves)

    federation.run()

    model = federation.coordinator.models.of_run(RUN_ID)
    assert model is not None
    package = download(federation.coordinator, model.model_id, tmp_path / "model", actor="local:test")
    assert package.manifest_sha256 == model.manifest_sha256
    assert hashlib.sha256(package.weights).hexdigest() == final_sha256(federation)
    assert package.plan == federation.plan
    names = {file.name for file in package.manifest.files}
    assert names == {WEIGHTS, PLAN, MODEL_CARD, METRICS, LINEAGE, CURVES}
    assert (tmp_path / "model" / CURVES).read_bytes().startswith(b"\x89PNG")
    card = (tmp_path / "model" / MODEL_CARD).read_text()
    assert "| bergen | 30 |" in card
    assert "Research use only" in card


def test_a_download_never_writes_into_a_folder_that_is_there(
    federation: SimulatedFederation, tmp_path
) -> None:
    federation.run()
    model = federation.coordinator.models.all()[0]
    (tmp_path / "model").mkdir()

    with pytest.raises(StoreError):
        download(federation.coordinator, model.model_id, tmp_path / "model", actor="local:test")

    assert list((tmp_path / "model").iterdir()) == []


def test_a_stored_model_that_the_disk_has_damaged_is_not_handed_out(
    federation: SimulatedFederation, tmp_path
) -> None:
    federation.run()
    blob = federation.coordinator.blobs.path(federation.checkpoint.weights.digest)
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)

    with pytest.raises(MammofedError, match="not the one that was signed"):
        download(
            federation.coordinator,
            federation.coordinator.models.all()[0].model_id,
            tmp_path / "model",
            actor="local:test",
        )


def test_the_evaluation_is_of_the_final_weights_and_of_every_site(federation: SimulatedFederation) -> None:
    federation.run()

    answers = [each for each in federation.coordinator.runs.answers(RUN_ID) if each.phase is Phase.EVALUATE]
    assert {each.state for each in answers} == {AnswerState.ADMITTED}
    assert len(answers) == 3
    assert {each.contribution.occasion.base_digest for each in answers} == {final_sha256(federation)}


# -- too few answers


def test_a_round_with_a_single_answer_is_never_published_whatever_the_quorum(
    federation: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No plan can be read that has a quorum of 1; the aggregation does not rely on that.
    rounds = federation.plan.rounds.model_copy(update={"quorum": 1})
    lowered = federation.plan.model_copy(update={"rounds": rounds})
    monkeypatch.setattr(Plan, "from_toml", lambda _text: lowered)
    for name in ("aarhus", "bergen"):
        federation[name].does(refuse)

    with pytest.raises(AggregationError, match="An aggregate of 1 updates was asked for"):
        federation.run()

    assert federation.answer_of("cork", 1) == (AnswerState.ADMITTED, None)
    assert federation.state is RunState.FAILED
    assert federation.coordinator.runs.last_checkpoint(RUN_ID) is None
    assert federation.coordinator.models.all() == []
    assert all(one.aggregate is None for one in federation.coordinator.runs.rounds(RUN_ID))
    assert federation.updates_here() == set()


def test_a_round_with_fewer_answers_than_its_quorum_is_void(federation: SimulatedFederation) -> None:
    for name in ("aarhus", "bergen"):
        federation[name].does(refuse)

    with pytest.raises(QuorumError):
        federation.run()

    runs = federation.coordinator.runs
    assert runs.last_checkpoint(RUN_ID) is None
    assert federation.coordinator.models.all() == []
    assert {one.state for one in runs.rounds(RUN_ID) if one.phase is Phase.TRAIN} == {RoundState.VOID}
    assert all(one.aggregate is None for one in runs.rounds(RUN_ID))


def test_a_quorum_missed_in_every_attempt_fails_the_run_and_keeps_the_checkpoints(
    found_federation: Make,
) -> None:
    federation = found_federation(3, quorum=3)
    federation["cork"].does(refuse, in_round=2)

    with pytest.raises(QuorumError):
        federation.run()

    run = federation.coordinator.runs.get(RUN_ID)
    assert run.state is RunState.FAILED
    assert "Round 2 got fewer than 3 answers in 3 attempts" in (run.failure or "")
    assert federation.checkpoint.number == 1
    federation.coordinator.blobs.verify(federation.checkpoint.weights)
    assert [(one.state, one.reason) for one in federation.answers_of("cork", 2)] == [
        (AnswerState.REFUSED, "NotReadyError")
    ] * server.rounds.MAX_ATTEMPTS


def test_a_disk_that_fills_up_in_the_middle_of_a_round_makes_the_run_wait_and_does_not_fail_it(
    federation: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(site: SimulatedSite, asked: Asked) -> bytes:
        """Get no receipt for an update, as the blob service has no room for it."""
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=4096))
        return refuse(site, asked)

    for site in federation.sites.values():
        site.does(fill_the_disk, honest, in_round=2)
    with pytest.raises(StoreError, match="0 MiB left"):
        federation.run()
    with pytest.raises(StoreError):
        federation.run()

    assert federation.state is RunState.RUNNING
    assert federation.checkpoint.number == 1
    tried = [one for one in federation.coordinator.runs.rounds(RUN_ID) if one.number == 2]
    assert [one.state for one in tried] == [RoundState.VOID]
    monkeypatch.undo()
    federation.run()
    assert federation.state is RunState.FINISHED


def test_a_failed_run_is_left_as_it_is(federation: SimulatedFederation) -> None:
    for site in federation.sites.values():
        site.does(refuse)
    with pytest.raises(QuorumError):
        federation.run()
    lines = list(federation.coordinator.audit.lines(subject=RUN_ID))

    federation.resume()

    assert list(federation.coordinator.audit.lines(subject=RUN_ID)) == lines


def test_a_second_attempt_that_has_its_quorum_closes_the_round(found_federation: Make) -> None:
    federation = found_federation(1, quorum=3)
    federation["bergen"].does(refuse, honest, in_round=1)

    federation.run()

    rounds = [one for one in federation.coordinator.runs.rounds(RUN_ID) if one.phase is Phase.TRAIN]
    assert [(one.attempt, one.state) for one in rounds] == [
        (1, RoundState.VOID),
        (2, RoundState.AGGREGATED),
    ]
    assert federation.state is RunState.FINISHED


def test_a_run_that_never_sees_a_quorum_online_says_how_many_it_saw(
    federation: SimulatedFederation,
) -> None:
    for name in ("aarhus", "bergen"):
        federation[name].online_since = None
    impatient = federation.plan.rounds.model_copy(update={"timeout_s": 0.1})
    session = Session(
        run=federation.coordinator.runs.get(RUN_ID),
        plan=federation.plan.model_copy(update={"rounds": impatient}),
        channel=federation.channel,
        coordinator=federation.coordinator,
    )

    with pytest.raises(QuorumError, match="Only 1 of 3 sites approve and are online; the plan needs 2"):
        gather(session, patience_s=0)


@pytest.mark.parametrize(
    ("deed", "state", "reason"),
    [
        (refuse, AnswerState.REFUSED, "NotReadyError"),
        (fail, AnswerState.LOST, "the site's node failed"),
        (understand_nothing, AnswerState.LOST, OTHER_VERSION),
        (go_offline, AnswerState.LOST, "the site went offline"),
        (stay_silent, AnswerState.LOST, "no answer"),
    ],
)
def test_a_run_goes_on_without_a_site_that_does_not_contribute(
    deed, state: AnswerState, reason: str, federation: SimulatedFederation
) -> None:
    federation["aarhus"].does(deed, in_round=1)

    federation.run()

    assert federation.answer_of("aarhus", 1) == (state, reason)
    assert federation.state is RunState.FINISHED
    expected = federation.honest_mean(1, "bergen", "cork")
    for name, tensor in federation.weights(federation.aggregate_of(1)).items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)
    (first,) = (
        one
        for one in federation.coordinator.runs.rounds(RUN_ID)
        if one.base == federation.base_of(1) and one.number
    )
    assert ((first.closed_at or 0) >= first.deadline) == (deed is stay_silent)


def test_a_site_that_comes_back_is_in_the_next_round(found_federation: Make) -> None:
    federation = found_federation(3)
    federation["aarhus"].does(go_offline, in_round=1)

    def welcome_back(site: SimulatedSite, asked: Asked) -> bytes:
        federation["aarhus"].online_since = time.time() - 1
        return honest(site, asked)

    federation["cork"].does(welcome_back, in_round=2)

    federation.run()

    assert [each.round_number for each in federation["aarhus"].asked] == [1, 3, 3]
    assert federation.answers_of("aarhus", 2) == []
    assert federation.answer_of("aarhus", 3)[0] is AnswerState.ADMITTED


def test_a_site_that_restarts_within_a_round_is_asked_again_and_counted(found_federation: Make) -> None:
    federation = found_federation(2, timeout_s=PATIENT_S)
    federation["bergen"].does(restart, honest, in_round=1)

    federation.run()

    assert [each.attempt for each in federation["bergen"].asked if each.round_number == 1] == [1, 1]
    assert federation.answer_of("bergen", 1)[0] is AnswerState.ADMITTED


def test_a_site_that_cannot_be_reached_by_a_message_is_lost_and_the_others_go_on(
    federation: SimulatedFederation,
) -> None:
    def unreachable(_site: SimulatedSite, _asked: Asked) -> bytes:
        raise TransferError("A message could not be sent to a site.", "Look at the coordinator's log.")

    federation["bergen"].does(unreachable, in_round=2)

    federation.run()

    assert federation.answer_of("bergen", 2)[0] is AnswerState.LOST
    assert federation.state is RunState.FINISHED


def test_the_first_round_waits_for_sites_that_are_still_starting(
    federation: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.rounds, "GATHER_S", 5.0)
    online, polls = federation.channel.online, []

    def starting() -> dict[int, float]:
        polls.append(len(polls))
        present = dict(online())
        return present if len(polls) > 3 else {node_id: present[node_id] for node_id in (1, 2)}

    monkeypatch.setattr(federation.channel, "online", starting)

    federation.run()

    assert federation.answer_of("cork", 1)[0] is AnswerState.ADMITTED


def test_the_evaluation_waits_for_sites_that_come_back_one_after_the_other(
    federation: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is done once: whoever is left out of it is never told of."""
    monkeypatch.setattr(server.rounds, "GATHER_S", 5.0)
    online, polls = federation.channel.online, []

    def coming_back() -> dict[int, float]:
        nodes = dict(online())
        if federation.coordinator.models.of_run(RUN_ID) is None:
            return nodes
        polls.append(len(polls))
        return dict(list(nodes.items())[: len(polls) // 2])

    monkeypatch.setattr(federation.channel, "online", coming_back)

    federation.run()

    told = [each for each in federation.coordinator.runs.answers(RUN_ID) if each.phase is Phase.EVALUATE]
    assert {each.site_id: each.state for each in told} == dict.fromkeys(
        ("site-aarhus", "site-bergen", "site-cork"), AnswerState.ADMITTED
    )


@pytest.mark.parametrize("num_there", [0, 1])
def test_what_needs_no_quorum_goes_on_after_the_plans_timeout_with_those_that_are_there(
    federation: SimulatedFederation, monkeypatch: pytest.MonkeyPatch, num_there: int
) -> None:
    coordinator = federation.coordinator
    rounds = federation.plan.rounds.model_copy(update={"timeout_s": 0.2})
    session = Session(
        run=coordinator.runs.get(RUN_ID),
        plan=federation.plan.model_copy(update={"rounds": rounds}),
        channel=federation.channel,
        coordinator=coordinator,
    )
    nodes = dict(list(federation.channel.online().items())[:num_there])
    monkeypatch.setattr(federation.channel, "online", lambda: nodes)
    began = time.monotonic()

    there = gather_any(session, patience_s=0.0)

    assert time.monotonic() - began >= 0.2
    assert [site.name for site in there] == ["aarhus"][:num_there]
