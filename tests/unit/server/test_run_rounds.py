"""Runs from the first weights to the published model: what they come to, and what they survive."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

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
from server.session import Session, gather
from server.strategies import STRATEGIES
from shared.errors import (
    AggregationError,
    MammofedError,
    NonFiniteError,
    QuorumError,
    StoreError,
    TransferError,
)
from shared.model import initial_model
from shared.model.sent import local_names
from shared.model.weights import to_bytes, weights_of
from shared.package import CURVES, METRICS, MODEL_CARD, PLAN, REFERENCE, WEIGHTS
from shared.plan import AggregationPlan, Plan
from shared.records import Phase
from shared.transfer.blob_ref import BlobRef
from tests.unit.server.simulated_federation import (
    RUN_ID,
    SITES,
    Asked,
    NodeError,
    Silence,
    SimulatedFederation,
    SimulatedSite,
    fail,
    go_offline,
    honest,
    refuse,
    restart,
    small_plan,
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
    assert names == {WEIGHTS, PLAN, MODEL_CARD, METRICS, REFERENCE, CURVES}
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
    assert updates_here(federation) == set()


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


def test_a_site_that_restarts_within_a_round_is_asked_again_and_counted(
    federation: SimulatedFederation,
) -> None:
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


# -- interruptions


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


def updates_here(federation: SimulatedFederation) -> set[str]:
    """Digests of the updates that the coordinator still has."""
    return {
        answer.contribution.update.digest
        for answer in federation.coordinator.runs.answers(RUN_ID)
        if answer.contribution is not None and answer.contribution.update is not None
    } & set(federation.coordinator.blobs.digests())


def test_no_update_of_a_run_that_has_failed_is_kept(federation: SimulatedFederation) -> None:
    for name in ("bergen", "cork"):
        federation[name].does(refuse, in_round=2)

    with pytest.raises(QuorumError):
        federation.run()

    assert updates_here(federation) == set()


def test_every_transition_of_a_run_is_in_the_trail(federation: SimulatedFederation) -> None:
    federation["aarhus"].does(go_offline, in_round=2)

    federation.run()

    names = [line.name for line in federation.coordinator.audit.lines(subject=RUN_ID)]
    assert names[:4] == ["run.submitted", "run.running", "round.opened", "answer.admitted"]
    assert names.count("round.opened") == names.count("round.aggregated") == 4
    assert names.count("answer.admitted") == 3 + 3 + 2 + 2
    assert names.count("answer.lost") == 1
    assert names[-1] == "run.finished"


# -- counts and weights


def test_sites_are_counted_once_and_a_small_one_weighs_a_tenth_of_the_largest(
    found_federation: Make,
) -> None:
    federation = found_federation(2, sites={"aarhus": 1, "bergen": 100})

    federation.run()

    terms = {
        (name, number): federation[name].trained[number].terms
        for name in ("aarhus", "bergen")
        for number in (1, 2)
    }
    assert {place: (each.weight, each.total) for place, each in terms.items()} == {
        ("aarhus", 1): (100, 1100),
        ("aarhus", 2): (100, 1100),
        ("bergen", 1): (1000, 1100),
        ("bergen", 2): (1000, 1100),
    }
    counts = [each for each in federation.coordinator.runs.answers(RUN_ID) if each.phase is Phase.COUNT]
    assert len(counts) == 2


def test_a_site_that_comes_later_is_counted_then_and_changes_no_others_share(
    found_federation: Make,
) -> None:
    federation = found_federation(2)
    federation["aarhus"].online_since = None

    def arrive(site: SimulatedSite, asked: Asked) -> bytes:
        federation["aarhus"].online_since = time.time() - 1
        return honest(site, asked)

    federation["cork"].does(arrive, in_round=1)

    federation.run()

    # 300 and 600 at the start; the late one adds ten times its ten examples
    assert {
        name: (federation[name].trained[2].terms.weight, federation[name].trained[2].terms.total)
        for name in ("aarhus", "bergen", "cork")
    } == {"aarhus": (100, 900), "bergen": (300, 900), "cork": (600, 900)}
    expected = federation.honest_mean(2, "aarhus", "bergen", "cork")
    for name, tensor in federation.weights(federation.aggregate_of(2)).items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)


def test_a_run_whose_sites_do_not_count_their_examples_says_so(federation: SimulatedFederation) -> None:
    for site in federation.sites.values():
        site.counts = refuse

    with pytest.raises(QuorumError, match="No site counts its examples"):
        federation.run()

    assert federation.state is RunState.FAILED


# -- strategies


FIVE = dict.fromkeys(("aarhus", "bergen", "cork", "derry", "evora"), 10)


def plan_with(strategy: str, **settings: object) -> Plan:
    """Three rounds of five sites, all of which must answer."""
    aggregation = AggregationPlan.model_validate({"strategy": strategy, **settings})
    return Plan.model_validate(
        {
            **small_plan(3, quorum=len(FIVE), timeout_s=PATIENT_S).model_dump(),
            "aggregation": aggregation.model_dump(),
        }
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("bits", [pytest.param(8, marks=pytest.mark.slow), 16])
def test_a_run_under_any_strategy_goes_on_after_an_interruption_to_the_bytes_of_a_calm_one(
    strategy: str, bits: int, tmp_path
) -> None:
    plan = plan_with(strategy, bits=bits)
    calm = SimulatedFederation(tmp_path / "calm", plan, FIVE)
    interrupted = SimulatedFederation(tmp_path / "interrupted", plan, FIVE)
    for name in ("derry", "evora"):  # the same sites compute in the same attempts
        calm[name].does(fail, honest, in_round=2)
    calm.run()
    interrupted.channel.breaks_in_round, interrupted.channel.num_asked_before = 2, 3
    with pytest.raises(ConnectionError):
        interrupted.run()

    interrupted.resume()

    assert interrupted.state is RunState.FINISHED
    assert interrupted.checkpoint == calm.checkpoint


def alike(site: SimulatedSite, asked: Asked) -> bytes:
    """The same update from every second site, so that scores of multi-krum are tied."""
    if asked.occasion.phase is not Phase.TRAIN:
        return honest(site, asked)
    word = (site.node_id % 2) / 100
    return site.contribute(asked, {name: torch.full(shape, word) for name, shape in asked.sent.items()})


@pytest.mark.parametrize(
    ("strategy", "bits", "deed"),
    [
        *((strategy, bits, honest) for strategy in STRATEGIES for bits in (8, 16)),
        pytest.param("multi_krum", 16, alike, id="multi_krum of tied scores"),
    ],
)
def test_the_order_in_which_answers_arrive_does_not_change_a_byte(
    strategy: str, bits: int, deed, tmp_path
) -> None:
    in_order, reversed_order = (
        SimulatedFederation(tmp_path / name, plan_with(strategy, bits=bits), FIVE) for name in "ir"
    )
    reversed_order.channel.latest_first = True

    for federation in (in_order, reversed_order):
        for site in federation.sites.values():
            site.does(deed)
        federation.run()

    arrivals = [reversed_order.answers_of(name, 1)[0].answered_at for name in FIVE]
    assert arrivals == sorted(arrivals, reverse=True)
    assert arrivals[0] > arrivals[-1]
    assert in_order.checkpoint == reversed_order.checkpoint


@pytest.mark.parametrize("strategy", ["trimmed_mean", "median", "multi_krum"])
def test_a_site_that_sends_the_largest_values_does_not_move_a_robust_aggregate(
    strategy: str, tmp_path
) -> None:
    def attack(site: SimulatedSite, asked: Asked) -> bytes:
        update = {name: torch.full_like(tensor, 1e30) for name, tensor in asked.base.items()}
        return site.contribute(asked, update)

    federation = SimulatedFederation(tmp_path / "home", plan_with(strategy), FIVE)
    federation["cork"].does(attack, in_round=1)

    federation.run()

    base = federation.weights(federation.base_of(1))
    for name, tensor in federation.weights(federation.aggregate_of(1)).items():
        assert (tensor - base[name]).abs().max() < 0.1  # honest changes are 0.01 wide


def test_fedbn_leaves_normalisation_layers_as_they_were(tmp_path) -> None:
    federation = SimulatedFederation(tmp_path / "home", plan_with("fedbn"), FIVE)

    federation.run()

    first = weights_of(initial_model(federation.plan))
    local = local_names(initial_model(federation.plan), federation.plan.aggregation)
    final = federation.weights(federation.checkpoint.weights)
    assert local
    assert {name for name, tensor in final.items() if torch.equal(tensor, first[name])} == local


# -- a site that is revoked in the middle of a round


def test_a_site_that_is_revoked_amid_a_round_is_lost_to_it_at_once_and_never_asked_again(
    federation: SimulatedFederation,
) -> None:
    def be_revoked(site: SimulatedSite, _asked: Asked) -> bytes:
        federation.coordinator.memberships.revoke(site.name, reason=None, now=time.time(), actor="ada")
        raise Silence

    federation["bergen"].does(be_revoked, in_round=1)
    began = time.monotonic()

    federation.run()

    assert time.monotonic() - began < federation.plan.rounds.timeout_s
    assert federation.state is RunState.FINISHED
    assert federation.answer_of("bergen", 1) == (AnswerState.LOST, "the site was revoked")
    assert [occasion.round_number for occasion in federation["bergen"].asked] == [1]
    assert federation.answers_of("bergen", 2) == []
    expected = federation.honest_mean(1, "aarhus", "cork")
    aggregate = federation.weights(federation.aggregate_of(1))
    for name, tensor in expected.items():
        torch.testing.assert_close(aggregate[name], tensor)


def test_an_answer_that_arrives_after_its_sites_revocation_does_not_enter_the_aggregate(
    federation: SimulatedFederation,
) -> None:
    def answer_too_late(site: SimulatedSite, asked: Asked) -> bytes:
        said = honest(site, asked)
        federation.coordinator.memberships.revoke(site.name, reason=None, now=time.time(), actor="ada")
        return said

    federation["bergen"].does(answer_too_late, in_round=1)

    federation.run()

    assert federation.answer_of("bergen", 1) == (AnswerState.LOST, "the site was revoked")
    expected = federation.honest_mean(1, "aarhus", "cork")
    aggregate = federation.weights(federation.aggregate_of(1))
    for name, tensor in expected.items():
        torch.testing.assert_close(aggregate[name], tensor)


# -- a site that exchanges its keys in the middle of a run


def test_an_answer_signed_by_the_key_before_counts_for_what_was_announced_before_the_exchange(
    federation: SimulatedFederation,
) -> None:
    def exchange_after_signing(site: SimulatedSite, asked: Asked) -> bytes:
        said = honest(site, asked)
        site.exchange_signing_key()
        certificate_pem = federation.coordinator.memberships.get(site.site_id).certificate_pem
        assert federation.coordinator.memberships.use(site.site_id, certificate_pem)
        return said

    federation["bergen"].does(exchange_after_signing, in_round=1)

    federation.run()

    assert federation.answer_of("bergen", 1) == (AnswerState.ADMITTED, None)
    assert federation.answer_of("bergen", 2) == (AnswerState.ADMITTED, None)


def test_a_thief_of_a_replaced_signing_key_cannot_answer_what_was_announced_after_the_exchange(
    federation: SimulatedFederation,
) -> None:
    bergen = federation["bergen"]
    stolen = bergen.signing_key
    bergen.exchange_signing_key()
    certificate_pem = federation.coordinator.memberships.get(bergen.site_id).certificate_pem
    assert federation.coordinator.memberships.use(bergen.site_id, certificate_pem)

    def answer_with_the_stolen_key(site: SimulatedSite, asked: Asked) -> bytes:
        site.signing_key, own = stolen, site.signing_key
        try:
            return honest(site, asked)
        finally:
            site.signing_key = own

    bergen.does(answer_with_the_stolen_key, honest, in_round=1)

    federation.run()

    state, reason = federation.answer_of("bergen", 1)
    assert (state, "another key" in (reason or "")) == (AnswerState.REJECTED, True)
    assert federation.answer_of("bergen", 2) == (AnswerState.ADMITTED, None)


@pytest.mark.parametrize("last_words", [Silence, NodeError], ids=["it is silent", "Flower reports its end"])
def test_a_site_whose_new_node_was_up_before_it_was_asked_on_the_old_one_is_asked_again_at_once(
    federation: SimulatedFederation, last_words: type[Exception]
) -> None:
    bergen = federation["bergen"]

    def move(site: SimulatedSite, _asked: Asked) -> bytes:
        federation.channel.sites[99] = site
        federation.coordinator.federation.set_node_id(site.site_id, 99)
        raise last_words

    bergen.does(move, honest, in_round=1)
    began = time.monotonic()

    federation.run()

    assert federation.answer_of("bergen", 1) == (AnswerState.ADMITTED, None)
    assert time.monotonic() - began < federation.plan.rounds.timeout_s
