"""Attacks of one site of three: it is kept out of that round, and the others go on from the one before.

All attacks are played in one run, each in a round of its own after an honest first one.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from server.lifecycle import AnswerState, RunState
from server.summary import summarize
from shared.appearance import QUANTITIES
from shared.errors import QuorumError
from shared.evaluation.records import NUM_BINS
from shared.fixed_point.planes import PlanePacker
from shared.fixed_point.update_file import write_update
from shared.model import Weights, initial_model
from shared.model.weights import to_bytes, weights_of
from shared.plan import AggregationPlan, StrategyName
from shared.records import CONTRIBUTION_TYPE, Phase, Terms
from shared.transfer.blob_ref import BlobRef
from shared.trust.envelope import sign
from shared.trust.keys import SigningKey
from tests.unit.server.simulated_federation import (
    RUN_ID,
    Asked,
    Deed,
    SimulatedFederation,
    SimulatedSite,
    forged,
    honest,
    refuse,
    small_plan,
    with_occasion,
)


def send(change: Deed) -> Deed:
    """A deed of the training phase alone: in the evaluate phase the site behaves."""

    def deed(site: SimulatedSite, asked: Asked) -> bytes:
        return change(site, asked) if asked.occasion.phase is Phase.TRAIN else honest(site, asked)

    return deed


def changed_update(change) -> Deed:
    """An update with something changed, honestly uploaded and signed."""

    def deed(site: SimulatedSite, asked: Asked) -> bytes:
        update = site.train(asked)
        first = next(iter(update))
        return site.contribute(asked, change(update, first))

    return send(deed)


MOMENTS = {"num_images": 8, "mean": 0.5, "variance": 0.1}


def changed_contribution(**changes: object) -> Deed:
    """A contribution with fields replaced past all checks of its own, honestly signed."""

    def deed(site: SimulatedSite, asked: Asked) -> bytes:
        blob = site.upload(site.encoded(asked, site.train(asked)))
        document = {**json.loads(site.contribution(asked, blob).to_bytes()), **changes}
        payload = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        return sign(CONTRIBUTION_TYPE, payload, site.signing_key).to_bytes()

    return send(deed)


def other_occasion(**changes: object) -> Deed:
    """A contribution that claims to be for another occasion, honestly signed."""

    def deed(site: SimulatedSite, asked: Asked) -> bytes:
        blob = site.upload(site.encoded(asked, site.train(asked)))
        return site.signed(with_occasion(site.contribution(asked, blob), **changes))

    return send(deed)


def changed_bytes(change: Callable[[bytes], bytes]) -> Deed:
    """An update whose bytes are changed before it is honestly uploaded and signed."""

    def deed(site: SimulatedSite, asked: Asked) -> bytes:
        content = change(site.encoded(asked, site.train(asked)))
        return site.signed(site.contribution(asked, site.upload(content)))

    return send(deed)


def on_other_terms(change: Callable[[Terms], dict[str, object]]) -> Deed:
    """An update that is rounded by other terms than the announced ones."""

    def deed(site: SimulatedSite, asked: Asked) -> bytes:
        terms = asked.terms.model_copy(update=change(asked.terms))
        other = replace(asked, announcement=asked.announcement.model_copy(update={"terms": terms}))
        return site.contribute(other, site.train(other))

    return send(deed)


def as_numbers(change: Callable[[torch.Tensor], torch.Tensor]) -> Deed:
    """An update as plain floating-point tensors under the right names, as if there were no grid."""

    def deed(site: SimulatedSite, asked: Asked) -> bytes:
        content = safetensors.torch.save({name: change(each) for name, each in site.train(asked).items()})
        whole = site.encoded(asked, site.train(asked))
        return site.signed(site.contribution(asked, site.upload(content[: len(whole)])))

    return send(deed)


def with_floats_behind_an_honest_header(site: SimulatedSite, asked: Asked) -> bytes:
    file = io.BytesIO()
    blocks = [np.full(len(each), np.nan, np.float32) for each in site.rounded(asked, site.train(asked))]
    write_update(file, asked.grid(asked.base), [], compress=True)
    packer = PlanePacker(compress=True)
    for block in blocks:
        file.write(packer.pack(block.view(np.uint32)))
    return site.signed(site.contribution(asked, site.upload(file.getvalue())))


def with_a_value_beyond_the_grid(site: SimulatedSite, asked: Asked) -> bytes:
    blocks = site.rounded(asked, site.train(asked))
    blocks[0][0] = -32768
    file = io.BytesIO()
    write_update(file, asked.grid(asked.base), blocks, compress=False)
    return site.signed(site.contribution(asked, site.upload(file.getvalue())))


def unsigned(site: SimulatedSite, asked: Asked) -> bytes:
    return site.contribution(asked, site.upload(site.encoded(asked, site.train(asked)))).to_bytes()


def with_empty_signature(site: SimulatedSite, asked: Asked) -> bytes:
    return forged(honest(site, asked), signature=b"")


def signed_by_a_stranger(site: SimulatedSite, asked: Asked) -> bytes:
    contribution = site.contribution(asked, site.upload(site.encoded(asked, site.train(asked))))
    return sign(CONTRIBUTION_TYPE, contribution.to_bytes(), SigningKey.generate()).to_bytes()


def signed_by_a_stranger_under_the_sites_key_id(site: SimulatedSite, asked: Asked) -> bytes:
    return forged(signed_by_a_stranger(site, asked), key_id=site.signing_key.verify_key.key_id)


def tampered_on_the_way(site: SimulatedSite, asked: Asked) -> bytes:
    contribution = site.contribution(asked, site.upload(site.encoded(asked, site.train(asked))))
    richer = contribution.model_copy(update={"num_examples": 999})
    return forged(site.signed(contribution), unverified_payload=richer.to_bytes())


def signed_as_another_kind(site: SimulatedSite, asked: Asked) -> bytes:
    contribution = site.contribution(asked, site.upload(site.encoded(asked, site.train(asked))))
    payload_type = "application/vnd.mammofed.announcement+json"
    return sign(payload_type, contribution.to_bytes(), site.signing_key).to_bytes()


def replayed_from_round_one(site: SimulatedSite, _asked: Asked) -> bytes:
    return site.said[0]


def without_an_update(site: SimulatedSite, asked: Asked) -> bytes:
    return site.signed(site.contribution(asked, None))


def with_an_update_that_was_never_sent(site: SimulatedSite, asked: Asked) -> bytes:
    return site.signed(site.contribution(asked, BlobRef.of(site.encoded(asked, site.train(asked)))))


def with_other_values_of_the_same_length_under_its_digest(site: SimulatedSite, asked: Asked) -> bytes:
    """Whole, finite and on the grid: nothing but the digest speaks against it."""
    blocks = site.rounded(asked, site.train(asked))
    contents = []
    for sign_of_all in (1, -1):
        file = io.BytesIO()
        write_update(file, asked.grid(asked.base), [sign_of_all * each for each in blocks], compress=False)
        contents.append(file.getvalue())
    told, given = contents
    assert len(told) == len(given)
    blob = site.upload(told)
    site.coordinator.blobs.path(blob.digest).write_bytes(given)
    return site.signed(site.contribution(asked, blob))


def with_a_size_that_is_not_the_updates(site: SimulatedSite, asked: Asked) -> bytes:
    blob = site.upload(site.encoded(asked, site.train(asked)))
    return site.signed(site.contribution(asked, BlobRef(digest=blob.digest, size_bytes=blob.size_bytes - 1)))


def with_an_update_that_is_a_pickle(site: SimulatedSite, asked: Asked) -> bytes:
    return site.signed(site.contribution(asked, site.upload(b"\x80\x04cos\nsystem\n")))


def as_json_bomb(site: SimulatedSite, asked: Asked) -> bytes:
    bomb = base64.b64encode(b"[" * 100_000).decode()
    return json.dumps({"payload": bomb, "payloadType": CONTRIBUTION_TYPE, "signatures": []}).encode()


ATTACKS = {
    "an update with a value beyond the grid": (send(with_a_value_beyond_the_grid), "beyond the grid"),
    "an update on a coarser grid": (
        on_other_terms(lambda terms: {"exponents": [each + 1 for each in terms.exponents]}),
        "another grid",
    ),
    "an update of eight bits": (on_other_terms(lambda _terms: {"bits": 8}), "another grid"),
    "an update that is cut short": (changed_bytes(lambda content: content[:-1]), "ends too early"),
    "an update with bytes after its end": (changed_bytes(lambda content: content + b"x"), "follow its end"),
    "an update of weights as they are": (
        changed_bytes(lambda _content: to_bytes({"kernel": torch.tensor([float("nan")])})),
        "another network",
    ),
    "an update with NaN as numbers": (as_numbers(lambda each: each * float("nan")), "another network"),
    "an update with infinity as numbers": (as_numbers(lambda each: each + float("inf")), "another network"),
    "an update in float64": (as_numbers(lambda each: each.double()), "another network"),
    "an update in float16": (as_numbers(lambda each: each.half()), "another network"),
    "floats behind an honest header": (send(with_floats_behind_an_honest_header), "not of the round"),
    "a negative number of clipped values": (changed_contribution(num_clipped=-1), "unknown form"),
    "an update of another shape": (
        changed_update(lambda update, first: {**update, first: update[first].unsqueeze(0)}),
        "another network",
    ),
    "an update that would broadcast": (
        changed_update(lambda update, first: {**update, first: torch.zeros(1)}),
        "another network",
    ),
    "an update without one tensor": (
        changed_update(lambda update, first: {k: v for k, v in update.items() if k != first}),
        "another network",
    ),
    "an update with one tensor more": (
        changed_update(lambda update, _first: {**update, "backdoor": torch.zeros(1)}),
        "another network",
    ),
    "an update that is a pickle": (send(with_an_update_that_is_a_pickle), "another network"),
    "an update that was never sent": (send(with_an_update_that_was_never_sent), "No blob"),
    "other values of the same length under its digest": (
        send(with_other_values_of_the_same_length_under_its_digest),
        "damaged",
    ),
    "an update of another size than stated": (send(with_a_size_that_is_not_the_updates), "damaged"),
    "no update": (send(without_an_update), "lacks its update"),
    "a negative count": (changed_contribution(num_examples=-5), "unknown form"),
    "a count of zero": (changed_contribution(num_examples=0), "plausible number"),
    "a huge count": (changed_contribution(num_examples=10**30), "plausible number"),
    "a count that is a fraction": (changed_contribution(num_examples=2.5), "unknown form"),
    "a count that is a truth value": (changed_contribution(num_examples=True), "unknown form"),
    "an evaluation that no images can have": (
        changed_contribution(evaluation={"num_examples": 8, "loss": {**MOMENTS, "num_images": 99}}),
        "more images than",
    ),
    "an evaluation of what was not asked for": (
        changed_contribution(
            evaluation={"num_examples": 8, "calibration": {**MOMENTS, "bins": [None] * NUM_BINS}}
        ),
        "not asked for",
    ),
    "an evaluation of a model of its own that nobody asked for": (
        changed_contribution(personal_evaluation={"num_examples": 8}),
        "a model of its own that nobody asked for",
    ),
    "looks of its images that were not asked for": (
        changed_contribution(
            appearance={
                "num_examples": 30,
                "mean": [0.0] * len(QUANTITIES),
                "covariance": [0.0] * (len(QUANTITIES) * (len(QUANTITIES) + 1) // 2),
            }
        ),
        "not asked for",
    ),
    "a loss that is not a number": (changed_contribution(train_loss=float("nan")), "unknown form"),
    "a field that nobody knows": (changed_contribution(note="patient 17"), "unknown form"),
    "no signature": (send(unsigned), "malformed"),
    "an empty signature": (send(with_empty_signature), "signature does not fit"),
    "a stranger's signature": (send(signed_by_a_stranger), "another key"),
    "a stranger's signature under the site's key id": (
        send(signed_by_a_stranger_under_the_sites_key_id),
        "signature does not fit",
    ),
    "a payload that was tampered with on the way": (send(tampered_on_the_way), "signature does not fit"),
    "a document of another kind": (send(signed_as_another_kind), "another kind"),
    "a replay of its answer in round one": (send(replayed_from_round_one), "another occasion"),
    "an answer for another run": (other_occasion(run_id="run-2"), "another occasion"),
    "an answer under another plan": (other_occasion(plan_sha256="0" * 64), "another occasion"),
    "an answer for a round to come": (other_occasion(round_number=999), "another occasion"),
    "an answer for another attempt": (other_occasion(attempt=2), "another occasion"),
    "an answer for another base": (other_occasion(base_digest="0" * 64), "another occasion"),
    "an answer in another site's name": (other_occasion(site_id="site-aarhus"), "another occasion"),
    "an answer of another protocol": (
        send(
            lambda site, asked: sign(
                CONTRIBUTION_TYPE,
                site.contribution(asked, None).to_bytes().replace(b'"protocol":2', b'"protocol":1'),
                site.signing_key,
            ).to_bytes()
        ),
        "of protocol 1; this side speaks 2",
    ),
    "bytes that are no document": (send(lambda _site, _asked: b"\x00\xff" * 500), "malformed"),
    "nothing at all": (send(lambda _site, _asked: b""), "malformed"),
    "five megabytes": (send(lambda _site, _asked: b"{" * 5_000_000), "malformed"),
    "a deeply nested document": (send(as_json_bomb), "malformed"),
}


FOUR = {"aarhus": 10, "bergen": 30, "cork": 60, "derry": 20}
ROUND_OF = {attack: number for number, attack in enumerate(ATTACKS, start=2)}


@pytest.fixture(scope="module")
def attacked(in_a_hurry, tmp_path_factory: pytest.TempPathFactory) -> SimulatedFederation:
    """A federation after a run with an attack in each round but the first."""
    plan = small_plan(1 + len(ATTACKS), timeout_s=60)
    federation = SimulatedFederation(tmp_path_factory.mktemp("attacked"), plan)
    for attack, (deed, _) in ATTACKS.items():
        federation["bergen"].does(deed, in_round=ROUND_OF[attack])
    federation.run()
    return federation


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_rogue_site_is_kept_out_and_the_others_go_on(attack: str, attacked: SimulatedFederation) -> None:
    number, reason = ROUND_OF[attack], ATTACKS[attack][1]

    state, recorded = attacked.answer_of("bergen", number)

    assert state is AnswerState.REJECTED
    assert recorded is not None
    assert reason in recorded
    assert attacked.answer_of("aarhus", number)[0] is AnswerState.ADMITTED
    assert attacked.answer_of("cork", number)[0] is AnswerState.ADMITTED
    assert attacked.base_of(number) == attacked.aggregate_of(number - 1)
    attacked.coordinator.blobs.verify(attacked.base_of(number))
    assert_equal(attacked, attacked.honest_mean(number, "aarhus", "cork"), number)


def test_a_run_under_attack_ends_with_a_model_and_every_rejection_in_the_trail(
    attacked: SimulatedFederation,
) -> None:
    trail = list(attacked.coordinator.audit.lines(subject=RUN_ID))
    rejections = [event for event in trail if event.name == "answer.rejected"]

    assert attacked.state is RunState.FINISHED
    assert attacked.coordinator.models.of_run(RUN_ID) is not None
    assert attacked.checkpoint.number == 1 + len(ATTACKS)
    assert [(event.actor, event.details["number"]) for event in rejections] == [
        ("site-bergen", number) for number in ROUND_OF.values()
    ]
    assert [event.details["reason"] for event in rejections] == [
        attacked.answer_of("bergen", number)[1] for number in ROUND_OF.values()
    ]


@pytest.mark.parametrize(
    "pattern",
    [
        np.frombuffer(np.float16("nan").tobytes(), "<i2")[0],
        np.frombuffer(np.float16("inf").tobytes(), "<i2")[0],
        np.frombuffer(np.float16("-inf").tobytes(), "<i2")[0],
        np.int16(32767),
        np.int16(-32767),
    ],
    ids=["the bytes of NaN", "the bytes of infinity", "the bytes of -infinity", "the largest", "the least"],
)
def test_whatever_bytes_a_site_sends_it_moves_the_mean_no_further_than_the_grid_reaches(
    pattern: np.int16, federation: SimulatedFederation
) -> None:
    def push(site: SimulatedSite, asked: Asked) -> bytes:
        file = io.BytesIO()
        blocks = [np.full_like(each, pattern) for each in site.rounded(asked, site.train(asked))]
        write_update(file, asked.grid(asked.base), blocks, compress=False)
        return site.signed(site.contribution(asked, site.upload(file.getvalue())))

    federation["bergen"].does(send(push), in_round=1)

    federation.run()

    assert federation.answer_of("bergen", 1)[0] is AnswerState.ADMITTED
    base, moved = (federation.weights(each) for each in (federation.base_of(1), federation.aggregate_of(1)))
    others = federation.honest_mean(1, "aarhus", "cork")
    asked = federation["bergen"].trained[1]
    grid = asked.grid(base)
    share_of_others = sum(federation[name].trained[1].terms.weight for name in ("aarhus", "cork"))
    for name, tensor in moved.items():
        assert bool(tensor.isfinite().all())
        of_others = (others[name] - base[name]) * (share_of_others / asked.terms.total)
        pull = (tensor - base[name] - of_others).double().abs()
        assert bool((pull <= abs(int(pattern)) * grid.step(name) * (1 + 1e-4) + 1e-6).all())


# -- attacks on the count that weighs a site


def signed_by_a_stranger_in_count(site: SimulatedSite, asked: Asked) -> bytes:
    payload = site.contribution(asked, None).to_bytes()
    return sign(CONTRIBUTION_TYPE, payload, SigningKey.generate()).to_bytes()


def counts_as(num_examples: object) -> Deed:
    def deed(site: SimulatedSite, asked: Asked) -> bytes:
        document = json.loads(site.contribution(asked, None).to_bytes())
        payload = json.dumps({**document, "num_examples": num_examples}).encode()
        return sign(CONTRIBUTION_TYPE, payload, site.signing_key).to_bytes()

    return deed


def count_with_an_update(site: SimulatedSite, asked: Asked) -> bytes:
    return site.signed(site.contribution(asked, site.coordinator.blobs.put_bytes(b"an update")))


def count_for_another_site(site: SimulatedSite, asked: Asked) -> bytes:
    return site.signed(with_occasion(site.contribution(asked, None), site_id="site-aarhus"))


@pytest.mark.parametrize(
    ("count", "reason"),
    [
        (counts_as(0), "plausible number"),
        (counts_as(-5), "unknown form"),
        (counts_as(10**30), "plausible number"),
        (counts_as(2.5), "unknown form"),
        (count_with_an_update, "A count brings one"),
        (count_for_another_site, "another occasion"),
        (signed_by_a_stranger_in_count, "another key"),
    ],
    ids=["none", "negative", "huge", "a fraction", "with an update", "for another", "signed by a stranger"],
)
def test_a_site_that_lies_about_the_form_of_its_count_weighs_nothing(
    count: Deed, reason: str, tmp_path: Path
) -> None:
    federation = SimulatedFederation(tmp_path, small_plan(1, timeout_s=60))
    federation["bergen"].counts = count

    federation.run()

    (answer,) = (
        each
        for each in federation.coordinator.runs.answers(RUN_ID)
        if each.phase is Phase.COUNT and each.site_id == "site-bergen"
    )
    assert answer.state is AnswerState.REJECTED
    assert reason in (answer.reason or "")
    assert federation.answers_of("bergen", 1) == []
    assert federation["aarhus"].trained[1].terms.total == 100 + 600
    assert_equal(federation, federation.honest_mean(1, "aarhus", "cork"), 1)


def assert_equal(federation: SimulatedFederation, expected: Weights, number: int) -> None:
    weights = federation.weights(federation.aggregate_of(number))
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=0, atol=0)


def test_a_site_that_lies_about_its_examples_beside_an_update_moves_no_shown_mean(
    found_federation: Callable[..., SimulatedFederation],
) -> None:
    truthful, lying = (found_federation(1) for _ in range(2))
    for federation, claimed in ((truthful, 30), (lying, 10_000_000)):
        federation["bergen"].does(changed_contribution(train_loss=90.0, num_examples=claimed), honest)
        federation.run()

    shown = [summarize(each.coordinator.runs.get(RUN_ID), each.coordinator) for each in (truthful, lying)]

    assert lying.answer_of("bergen", 1)[0] is AnswerState.ADMITTED
    # Ten, thirty and sixty examples were counted.
    assert [each.rounds[0].train_loss for each in shown] == [pytest.approx((70 * 0.5 + 30 * 90) / 100)] * 2


def test_another_sites_signed_answer_is_refused(federation: SimulatedFederation) -> None:
    def steal(_site: SimulatedSite, asked: Asked) -> bytes:
        return federation["aarhus"].said[asked.occasion.round_number - 1]

    federation["bergen"].does(send(steal), in_round=2)

    federation.run()

    assert federation.answer_of("aarhus", 2)[0] is AnswerState.ADMITTED
    state, reason = federation.answer_of("bergen", 2)
    assert (state, reason) == (
        AnswerState.REJECTED,
        "A contribution was rejected. A document is signed by another key than expected.",
    )


def test_an_update_in_the_evaluate_phase_is_refused(federation: SimulatedFederation) -> None:
    def sneak(site: SimulatedSite, asked: Asked) -> bytes:
        if asked.occasion.phase is Phase.TRAIN:
            return honest(site, asked)
        blob = site.coordinator.blobs.put_bytes(b"an update")
        return site.signed(site.contribution(asked, blob))

    federation["bergen"].does(sneak)

    federation.run()

    (answer,) = (
        each
        for each in federation.coordinator.runs.answers(RUN_ID)
        if each.phase is Phase.EVALUATE and each.site_id == "site-bergen"
    )
    assert answer.state is AnswerState.REJECTED
    assert answer.reason is not None
    assert "An evaluation brings an update" in answer.reason
    assert federation.state is RunState.FINISHED


def test_a_site_cannot_make_the_coordinators_own_weights_its_update(federation: SimulatedFederation) -> None:
    def name_the_base(site: SimulatedSite, asked: Asked) -> bytes:
        return site.signed(site.contribution(asked, asked.announcement.base))

    federation["bergen"].does(send(name_the_base), in_round=2)

    federation.run()

    federation.coordinator.blobs.verify(federation.aggregate_of(1))
    assert federation.answer_of("bergen", 2)[0] is AnswerState.REJECTED
    assert_equal(federation, federation.honest_mean(2, "aarhus", "cork"), 2)


def test_a_flipped_bit_in_each_answer_is_rejected_and_the_last_checkpoint_stays(
    federation: SimulatedFederation,
) -> None:
    generator = torch.Generator().manual_seed(3)
    envelopes: list[bytes] = []

    def damage(site: SimulatedSite, asked: Asked) -> bytes:
        whole = bytearray(honest(site, asked))
        place = int(torch.randint(len(whole), (1,), generator=generator))
        whole[place] ^= 1 << int(torch.randint(8, (1,), generator=generator))
        envelopes.append(bytes(whole))
        return bytes(whole)

    for site in federation.sites.values():
        site.does(send(damage), in_round=2)

    with pytest.raises(QuorumError):
        federation.run()

    assert federation.checkpoint.number == 1
    assert len(envelopes) == 9
    assert {answer.state for answer in federation.answers_of("cork", 2)} == {AnswerState.REJECTED}


@pytest.mark.parametrize("strategy", ["fedavg", "median"])
def test_an_update_beyond_the_plans_norm_is_rejected_and_told_and_the_round_goes_on(
    strategy: StrategyName, tmp_path: Path
) -> None:
    num_values = sum(tensor.numel() for tensor in weights_of(initial_model(small_plan(1))).values())
    honest_norm = 0.01 * num_values**0.5  # of noise with a deviation of 0.01
    aggregation = AggregationPlan(strategy=strategy, max_update_norm=1.1 * honest_norm)
    plan = small_plan(2, quorum=3).model_copy(update={"aggregation": aggregation})
    attacked, without = (SimulatedFederation(tmp_path / name, plan, FOUR) for name in ("a", "w"))

    def thrice(site: SimulatedSite, asked: Asked) -> bytes:
        return site.contribute(asked, {name: 3 * tensor for name, tensor in site.train(asked).items()})

    attacked["bergen"].does(send(thrice), in_round=1)
    without["bergen"].does(refuse, in_round=1)

    for federation in (attacked, without):
        federation.run()

    state, reason = attacked.answer_of("bergen", 1)
    assert state is AnswerState.REJECTED
    assert "beyond the plan's bound" in (reason or "")
    assert attacked.aggregate_of(1) == without.aggregate_of(1)
    assert {attacked.answer_of(name, 2)[0] for name in attacked.sites} == {AnswerState.ADMITTED}
    assert attacked.checkpoint == without.checkpoint
