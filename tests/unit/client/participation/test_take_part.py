"""The site's part in a round: what it follows, what it answers, what leaves."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pytest
import torch
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from client.catalog import Catalog, Part
from client.egress import Egress
from client.evaluation.evaluator import Evaluated
from client.home import STORE_FILE, SiteHome
from client.imaging.appearance import appearance_of
from client.participation import take_part
from client.policy.policy import EgressTable
from client.training.local_round import rounding_of
from client.training.trainer import TrainingResult
from client.workplace import Workplace, open_workplace
from shared.appearance import QUANTITIES, describe
from shared.audit.checkpoints import open_checkpoint
from shared.errors import EgressError, MammofedError, StoreError, TamperedError, TrustError
from shared.model import Weights, initial_model
from shared.model.weights import to_bytes, weights_of
from shared.plan import AggregationPlan, ModelPlan, Plan
from shared.records import (
    CONTRIBUTION_TYPE,
    REFUSAL_TYPE,
    Announcement,
    Contribution,
    Phase,
    Refusal,
)
from shared.store import sqlite_url
from shared.transfer.blob_ref import BlobRef
from shared.trust.envelope import Envelope, sign, verify
from shared.trust.keys import SigningKey
from tests.unit.client.participation.conftest import (
    PLAN,
    POLICY,
    SITE_ID,
    MinimalCoordinator,
    add_example,
    ledger_rows,
)

Answer = TypeVar("Answer", Contribution, Refusal)
TYPES = {Contribution: CONTRIBUTION_TYPE, Refusal: REFUSAL_TYPE}


def read(answer: bytes, kind: type[Answer], home: SiteHome) -> Answer:
    """An answer, verified under the site's own key."""
    key = SigningKey.load(home.signing_key_file).verify_key
    return kind.from_bytes(verify(Envelope.from_bytes(answer), TYPES[kind], key))


def shapes_of(plan: Plan) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights_of(initial_model(plan)).items()}


def in_json(shapes: dict[str, tuple[int, ...]]) -> dict[str, list[int]]:
    return {name: list(shape) for name, shape in shapes.items()}


def reason_of(announcement: Announcement, coordinator: MinimalCoordinator, workplace: Workplace) -> str:
    """Take part, expecting a refusal."""
    answer = take_part(coordinator.ask(announcement), workplace)
    refusal = read(answer, Refusal, coordinator.home)
    assert refusal.occasion == announcement.occasion
    assert coordinator.ledger_at_send == {}
    assert [row.kind for row in ledger_rows(coordinator.home)] == ["refusal"]
    return refusal.reason


def test_a_site_trains_and_contributes_its_update_and_means(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement()

    answer = take_part(coordinator.ask(announcement), workplace)

    contribution = read(answer, Contribution, coordinator.home)
    assert contribution.occasion == announcement.occasion
    assert contribution.num_examples == len(workplace.catalog.examples(Part.TRAIN)) > 0
    assert contribution.evaluation is not None
    assert contribution.evaluation.num_examples == len(workplace.catalog.examples(Part.VALIDATION))
    assert contribution.train_loss is not None
    assert contribution.duration_s > 0
    assert contribution.duration_s % 10 == 0  # nothing finer tells how many examples there are
    assert contribution.num_clipped == 0
    update = coordinator.received_update(contribution.update, announcement)
    assert update.keys() == weights_of(initial_model(PLAN)).keys()
    assert any(bool(tensor.abs().max() > 0) for tensor in update.values())
    assert all(bool(tensor.abs().max() < 1) for tensor in update.values())


def test_a_site_that_is_asked_again_makes_the_same_update(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement()

    first, again = (
        read(take_part(coordinator.ask(announcement), workplace), Contribution, coordinator.home)
        for _ in range(2)
    )

    assert first.update == again.update
    assert first.evaluation == again.evaluation


def test_a_site_that_is_asked_again_sends_the_stored_update_and_computes_nothing(
    coordinator: MinimalCoordinator,
    workplace: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "shared.transfer.service")
    announcement = coordinator.announcement()
    first = read(take_part(coordinator.ask(announcement), workplace), Contribution, coordinator.home)
    monkeypatch.setattr("client.training.site_trainer.train", None)
    monkeypatch.setattr("client.evaluation.evaluator.evaluate_images", None)
    in_a_new_process = open_workplace(coordinator.home)

    answer = take_part(coordinator.ask(announcement), in_a_new_process)

    again = read(answer, Contribution, coordinator.home)
    assert again.checkpoint != first.checkpoint  # the audit log has grown by the first answer
    assert again.model_copy(update={"checkpoint": first.checkpoint}) == first
    rows = ledger_rows(coordinator.home)
    assert [row.kind for row in rows] == ["update", "contribution"] * 2
    assert rows[0].sha256 == rows[2].sha256
    assert rows[0].tensors == rows[2].tensors == in_json(shapes_of(PLAN))
    assert rows[3].sha256 == hashlib.sha256(answer).hexdigest()
    # The coordinator has the update still: its bytes went once.
    assert [line for line in caplog.messages if "sent a blob" in line] == [
        f"Site {SITE_ID} sent a blob of {rows[0].size_bytes} bytes"
    ]
    in_a_new_process.catalog.close()


def test_a_site_that_exchanged_its_key_since_signs_its_stored_answer_with_the_new_one(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement()
    first = read(take_part(coordinator.ask(announcement), workplace), Contribution, coordinator.home)
    key = SigningKey.generate()
    workplace.egress = replace(workplace.egress, signing_key=key)

    answer = take_part(coordinator.ask(announcement), workplace)

    payload = verify(Envelope.from_bytes(answer), CONTRIBUTION_TYPE, key.verify_key)
    again = Contribution.from_bytes(payload)
    assert again.update == first.update
    assert open_checkpoint(Envelope.from_bytes(again.checkpoint.encode()), of="site-1", key=key.verify_key)


def test_a_site_counts_its_training_part_and_neither_trains_nor_sends_an_update(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement(phase=Phase.COUNT, round_number=0)

    answer = take_part(coordinator.ask(announcement), workplace)

    contribution = read(answer, Contribution, coordinator.home)
    assert contribution.num_examples == len(workplace.catalog.examples(Part.TRAIN)) > 0
    assert (contribution.update, contribution.train_loss, contribution.evaluation) == (None, None, None)
    assert coordinator.ledger_at_send == {}


@pytest.mark.parametrize("terms", [{"exponents": [-15]}, {"bits": 8}])
def test_terms_that_are_not_those_of_the_plan_are_refused(
    terms: dict[str, object], coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    assert reason_of(coordinator.announcement(terms=terms), coordinator, workplace) == "TrustError"


def test_scaffold_without_the_federations_control_variate_is_refused(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = PLAN.model_copy(update={"aggregation": AggregationPlan(strategy="scaffold")})
    coordinator.approve(plan, run_id="run-2")
    announcement = coordinator.announcement(settings=plan, run_id="run-2")

    assert reason_of(announcement, coordinator, workplace) == "TrustError"


def test_an_announcement_of_training_without_terms_is_refused(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement().model_copy(update={"terms": None})

    assert reason_of(announcement, coordinator, workplace) == "TrustError"


def test_the_evaluate_phase_measures_the_test_part_and_sends_no_update(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement(phase=Phase.EVALUATE, round_number=3)

    answer = take_part(coordinator.ask(announcement), workplace)

    contribution = read(answer, Contribution, coordinator.home)
    assert (contribution.num_examples, contribution.update, contribution.train_loss) == (0, None, None)
    assert contribution.evaluation is not None
    assert contribution.evaluation.num_examples == len(workplace.catalog.examples(Part.TEST))
    assert coordinator.ledger_at_send == {}
    assert [row.kind for row in ledger_rows(coordinator.home)] == ["contribution"]


def test_with_the_final_evaluation_a_site_tells_how_its_training_images_look_if_they_are_enough(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement(phase=Phase.EVALUATE, round_number=3)

    few = read(take_part(coordinator.ask(announcement), workplace), Contribution, coordinator.home)
    for seed in range(100, 140):
        add_example(workplace.catalog, patient=f"patient-{seed}", seed=seed)
    many = read(take_part(coordinator.ask(announcement), workplace), Contribution, coordinator.home)

    assert few.appearance is None
    assert many.appearance is not None
    example_ids = workplace.catalog.examples(Part.TRAIN)
    assert many.appearance.num_examples == len(example_ids) >= 20
    values = np.array([appearance_of(workplace.catalog.load(each).image_HW) for each in example_ids])
    np.testing.assert_allclose(many.appearance.mean, values.mean(axis=0))
    assert {"appearance.mean", "appearance.covariance"} <= set(ledger_rows(coordinator.home)[-1].names)


def test_looks_are_never_told_over_two_sets_of_images_that_differ_in_a_few(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    """A coordinator that asks again after a few images came in, or went, learns nothing of those."""

    def asked_again() -> Contribution:
        announcement = coordinator.announcement(phase=Phase.EVALUATE, round_number=3)
        return read(take_part(coordinator.ask(announcement), workplace), Contribution, coordinator.home)

    for seed in range(100, 140):
        add_example(workplace.catalog, patient=f"patient-{seed}", seed=seed)
    first = asked_again().appearance
    for seed in range(200, 206):
        add_example(workplace.catalog, patient=f"patient-{seed}", seed=seed)
    few_came = asked_again().appearance
    with workplace.catalog.importing():
        for seed in range(100, 110):
            workplace.catalog.remove_patient(f"patient-{seed}", actor="test")
    few_went = asked_again().appearance
    for seed in range(300, 340):
        add_example(workplace.catalog, patient=f"patient-{seed}", seed=seed)
    many_came = asked_again().appearance

    assert first is not None
    assert few_came == first
    assert few_went is None
    assert many_came is not None
    assert many_came.num_examples > first.num_examples


def test_looks_of_fewer_images_than_may_be_told_of_never_leave(
    egress: Egress, coordinator: MinimalCoordinator
) -> None:
    values = np.random.default_rng(0).standard_normal((40, len(QUANTITIES)))
    occasion = coordinator.announcement(phase=Phase.EVALUATE, round_number=3).occasion

    def told(rules: EgressTable, num_examples: int = 40) -> int | None:
        appearance = describe(values, told=num_examples)
        contribution = egress.compose_contribution(
            occasion,
            num_examples=None,
            evaluated=Evaluated(shared=None, appearance=appearance),
            asked=PLAN.metrics,
            rules=rules,
            duration_s=1.0,
        )
        return contribution.appearance and contribution.appearance.num_examples

    assert told(EgressTable()) == 40
    assert told(EgressTable(smallest_count=41)) is None
    assert told(EgressTable(smallest_count=16, round_counts_to=16)) == 32
    assert told(EgressTable(smallest_count=16, round_counts_to=16), num_examples=31) is None  # 16 is below 20
    assert told(EgressTable(metrics=("dice",))) is None


def test_everything_that_leaves_is_in_the_ledger_before_it_leaves(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement(round_number=2)

    answer = take_part(coordinator.ask(announcement), workplace)

    contribution = read(answer, Contribution, coordinator.home)
    assert contribution.update is not None
    digest = contribution.update.digest
    assert coordinator.ledger_at_send == {digest: [digest]}
    sent_update, sent_answer = ledger_rows(coordinator.home)
    content = coordinator.received(contribution.update)
    assert (sent_update.kind, sent_update.sha256, sent_update.size_bytes) == (
        "update",
        hashlib.sha256(content).hexdigest(),
        len(content),
    )
    assert sent_update.tensors == in_json(shapes_of(PLAN))
    assert (sent_update.rule, sent_answer.rule) == ("weights-of-the-plan", "listed-numbers")
    listed = {
        "num_examples",
        "num_clipped",
        "train_loss",
        "evaluation.dice.dense.mean",
        "update.digest",
        "checkpoint",
    }
    assert listed < set(sent_answer.names)
    assert (sent_answer.kind, sent_answer.sha256, sent_answer.size_bytes) == (
        "contribution",
        hashlib.sha256(answer).hexdigest(),
        len(answer),
    )
    assert {(row.run_id, row.round_number, row.attempt, row.phase) for row in (sent_update, sent_answer)} == {
        ("run-1", 2, 1, "train")
    }


def test_nothing_leaves_while_the_ledger_cannot_be_written(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    with create_engine(sqlite_url(coordinator.home.folder / STORE_FILE)).begin() as connection:
        connection.execute(text("ALTER TABLE ledger RENAME TO moved"))
    own_blobs = set(coordinator.blobs.digests())
    announcement = coordinator.announcement()

    with pytest.raises((SQLAlchemyError, StoreError)):
        take_part(coordinator.ask(announcement), workplace)

    sent = set(coordinator.blobs.digests()) - own_blobs
    assert sent == {announcement.plan.digest, announcement.base.digest}


# -- announcements that are not followed


def assert_unanswered(envelope: bytes, coordinator: MinimalCoordinator, workplace: Workplace) -> None:
    with pytest.raises(TrustError):
        take_part(envelope, workplace)

    assert coordinator.fetched == []
    assert ledger_rows(coordinator.home) == []
    assert workplace.blobs.digests() == []


def test_an_announcement_signed_by_another_key_is_not_answered(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    envelope = coordinator.ask(coordinator.announcement(), key=SigningKey.generate())

    assert_unanswered(envelope, coordinator, workplace)


def test_a_stranger_under_the_coordinators_key_id_is_not_answered(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    forged = Envelope.from_bytes(coordinator.ask(coordinator.announcement(), key=SigningKey.generate()))
    borrowed = replace(forged, key_id=coordinator.signing_key.verify_key.key_id)

    assert_unanswered(borrowed.to_bytes(), coordinator, workplace)


def test_an_announcement_that_was_changed_on_the_way_is_not_answered(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    envelope = Envelope.from_bytes(coordinator.ask(coordinator.announcement()))
    later = Announcement.from_bytes(envelope.unverified_payload).model_copy(update={"deadline": 2e10})

    assert_unanswered(
        replace(envelope, unverified_payload=later.to_bytes()).to_bytes(), coordinator, workplace
    )


def test_a_document_of_another_kind_under_the_coordinators_key_is_not_answered(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    payload = coordinator.announcement().to_bytes()

    assert_unanswered(
        sign(CONTRIBUTION_TYPE, payload, coordinator.signing_key).to_bytes(), coordinator, workplace
    )


def test_an_announcement_for_another_site_is_not_answered(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    assert_unanswered(coordinator.ask(coordinator.announcement(site_id="site-2")), coordinator, workplace)


def test_an_announcement_whose_time_is_over_is_not_answered(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    assert_unanswered(coordinator.ask(coordinator.announcement(deadline_in_s=-1)), coordinator, workplace)


@pytest.mark.parametrize("envelope", [b"", b"{}", b"\xff" * 1000, b"[" * 100_000])
def test_bytes_that_are_no_announcement_are_not_answered(
    envelope: bytes, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    assert_unanswered(envelope, coordinator, workplace)


# -- announcements that are refused


def test_a_plan_in_the_place_of_the_announced_one_is_refused(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    other = PLAN.model_copy(update={"seed": 6}).to_toml().encode()

    announcement = coordinator.announcement(plan=other, plan_sha256=PLAN.sha256)

    assert reason_of(announcement, coordinator, workplace) == "TrustError"


@pytest.mark.parametrize("plan", [b"name = 3", b"\xff\xfe\x00", b"unknown = 1\n"])
def test_a_plan_that_cannot_be_read_is_refused(
    plan: bytes, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement(plan=plan, plan_sha256=PLAN.sha256)

    assert reason_of(announcement, coordinator, workplace) == "PlanError"


def test_weights_in_the_place_of_the_announced_ones_are_refused(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    other = to_bytes(weights_of(initial_model(PLAN.model_copy(update={"seed": 6}))))
    announced = BlobRef.of(to_bytes(weights_of(initial_model(PLAN))))

    announcement = coordinator.announcement(base=other, base_digest=announced.digest)

    assert reason_of(announcement, coordinator, workplace) == "TrustError"


def test_weights_that_the_coordinators_disk_has_damaged_are_refused(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement()
    flip_last_byte(coordinator.blobs.path(announcement.base.digest))

    assert reason_of(announcement, coordinator, workplace) == "TamperedError"


def test_weights_that_the_sites_own_disk_has_damaged_are_refused_once_and_fetched_again(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement(phase=Phase.EVALUATE, round_number=PLAN.rounds.count)
    take_part(coordinator.ask(announcement), workplace)
    flip_last_byte(workplace.blobs.path(announcement.base.digest))

    refused = take_part(coordinator.ask(announcement), workplace)
    answered = take_part(coordinator.ask(announcement), workplace)

    assert read(refused, Refusal, coordinator.home).reason == "TamperedError"
    assert read(answered, Contribution, coordinator.home).evaluation is not None


def flip_last_byte(path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_weights_of_another_network_are_refused(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    base = weights_of(initial_model(PLAN))
    del base["segmenter.dense_decoder.head.bias"]

    announcement = coordinator.announcement(base=to_bytes(base))

    assert reason_of(announcement, coordinator, workplace) == "WeightsError"


def test_weights_that_are_not_finite_are_refused(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    base = weights_of(initial_model(PLAN))
    base["segmenter.dense_decoder.head.bias"].fill_(float("nan"))

    announcement = coordinator.announcement(base=to_bytes(base))

    assert reason_of(announcement, coordinator, workplace) == "NonFiniteError"


def test_a_blob_that_the_coordinator_withholds_is_refused(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    announcement = coordinator.announcement()
    coordinator.refuses.add(announcement.base.digest)

    assert reason_of(announcement, coordinator, workplace) == "TransferError"


def test_training_that_is_not_finite_is_refused_and_sends_nothing(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    largest = torch.finfo(torch.float32).max
    base = {
        name: torch.full_like(tensor, largest) for name, tensor in weights_of(initial_model(PLAN)).items()
    }

    announcement = coordinator.announcement(round_number=2, base=to_bytes(base))

    assert reason_of(announcement, coordinator, workplace) in {"NonFiniteError", "EgressError"}


def test_a_site_whose_training_examples_are_gone_says_so(
    coordinator: MinimalCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.settings_file.write_text('device = "cpu"\n')
    with Catalog.open(home.folder) as catalog:
        add_example(catalog, patient="patient-0", seed=0)
    home.policy_file.write_text(POLICY)
    coordinator.approve()
    workplace = open_workplace(home)
    monkeypatch.setattr(Workplace, "noted_dataset", lambda *_: None)

    assert reason_of(coordinator.announcement(), coordinator, workplace) == "NotReadyError"
    workplace.catalog.close()


def test_a_refusal_carries_the_kind_of_error_and_none_of_its_words(
    coordinator: MinimalCoordinator, workplace: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    for file in (coordinator.home.folder / "examples").glob("*.shard"):
        file.write_bytes(b"damaged")
    with caplog.at_level(logging.ERROR):
        answer = take_part(coordinator.ask(coordinator.announcement()), workplace)

    envelope = Envelope.from_bytes(answer)
    refusal = read(answer, Refusal, coordinator.home)
    assert refusal.reason == "StoreError"
    assert set(Refusal.model_fields) == {"occasion", "reason", "rules", "not_before", "checkpoint"}
    assert (refusal.rules, refusal.not_before) == ((), None)
    said = envelope.unverified_payload.decode()
    assert "damaged" in caplog.text
    for word in ("damaged", "catalog", "disk", str(coordinator.home.folder), "examples"):
        assert word not in said


# -- the gate itself


def subtracted(local: Weights, base: Weights) -> Weights:
    return {name: local[name] - base[name] for name in base}


def release(
    egress: Egress,
    coordinator: MinimalCoordinator,
    update: Weights,
    training: TrainingResult = TrainingResult(loss=0.5, num_steps=1, num_examples=6),  # noqa: B008 - frozen
) -> None:
    announcement = coordinator.announcement()
    rounding = rounding_of(announcement.terms, PLAN, announcement.occasion, {})
    egress.round_update(update, rounding, training=training, compress=True)


@pytest.fixture
def egress(workplace: Workplace) -> Egress:
    return workplace.egress


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_local_weights_that_are_not_finite_never_leave(
    value: float, egress: Egress, coordinator: MinimalCoordinator
) -> None:
    base = weights_of(initial_model(PLAN))
    local = {name: tensor.clone() for name, tensor in base.items()}
    local["segmenter.dense_decoder.head.bias"].view(-1)[0] = value

    with pytest.raises(EgressError):
        release(egress, coordinator, subtracted(local, base))

    assert ledger_rows(coordinator.home) == []
    assert egress.blobs.digests() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda local: {**local, "image": torch.zeros(8, 8)},
        lambda local: dict(list(local.items())[1:]),
        lambda local: {**local, "segmenter.dense_decoder.head.bias": torch.zeros(640, 480)},
        lambda local: {
            **local,
            "segmenter.dense_decoder.head.bias": local["segmenter.dense_decoder.head.bias"].double(),
        },
    ],
    ids=["an image beside the weights", "one tensor less", "an image in a tensor's place", "another type"],
)
def test_an_update_of_another_form_than_the_weights_that_came_in_never_leaves(
    change, egress: Egress, coordinator: MinimalCoordinator
) -> None:
    base = weights_of(initial_model(PLAN))

    with pytest.raises(EgressError):
        release(egress, coordinator, change(dict(base)))

    assert ledger_rows(coordinator.home) == []
    assert egress.blobs.digests() == []


def test_an_update_whose_loss_is_not_finite_does_not_leave_before_it(
    egress: Egress, coordinator: MinimalCoordinator
) -> None:
    training = TrainingResult(loss=float("nan"), num_steps=1, num_examples=6)

    with pytest.raises(EgressError):
        release(egress, coordinator, dict(weights_of(initial_model(PLAN))), training)

    assert ledger_rows(coordinator.home) == []
    assert egress.blobs.digests() == []


def test_a_loss_that_is_not_finite_never_leaves(egress: Egress, coordinator: MinimalCoordinator) -> None:
    with pytest.raises(EgressError):
        egress.compose_contribution(
            coordinator.announcement().occasion,
            num_examples=4,
            training=TrainingResult(loss=float("inf"), num_steps=1, num_examples=4),
            asked=PLAN.metrics,
            rules=EgressTable(),
            duration_s=1.0,
        )


@pytest.mark.parametrize("num_examples", [0, 1, 4])
def test_a_training_part_that_is_too_small_is_never_told_of(
    num_examples: int, egress: Egress, coordinator: MinimalCoordinator
) -> None:
    with pytest.raises(EgressError, match="smallest count"):
        egress.compose_contribution(
            coordinator.announcement(phase=Phase.COUNT, round_number=0).occasion,
            num_examples=num_examples,
            asked=(),
            rules=EgressTable(smallest_count=5),
            duration_s=1.0,
        )


def test_a_refusal_leaves_the_name_of_its_class_alone(
    egress: Egress, coordinator: MinimalCoordinator
) -> None:
    error = TamperedError("The image of Jane Doe is damaged.", "Look into /data/doe.")

    envelope = egress.release_refusal(coordinator.announcement().occasion, error)

    assert b"doe" not in Envelope.from_bytes(envelope).unverified_payload.lower()
    assert read(envelope, Refusal, coordinator.home).reason == "TamperedError"


# -- what stays warm, and what does not stay


def test_examples_are_fitted_once_until_the_catalog_changes(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    first = workplace.dataset(PLAN, Part.TRAIN)
    assert workplace.dataset(PLAN, Part.TRAIN) is first
    larger = PLAN.model_copy(update={"model": ModelPlan(size="tiny", input_height_px=96, input_width_px=64)})
    assert workplace.dataset(larger, Part.TRAIN) is not first

    add_example(workplace.catalog, patient="patient-0", seed=100)

    again = workplace.dataset(PLAN, Part.TRAIN)
    assert again is not None
    assert first is not None
    assert len(again) == len(first) + 1


def test_the_blobs_of_earlier_rounds_are_forgotten(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    take_part(coordinator.ask(coordinator.announcement(round_number=1)), workplace)
    base = to_bytes(weights_of(initial_model(PLAN.model_copy(update={"seed": 6}))))
    second = coordinator.announcement(round_number=2, base=base)

    answer = read(take_part(coordinator.ask(second), workplace), Contribution, coordinator.home)

    assert set(workplace.blobs.digests()) == {second.plan.digest, second.base.digest, answer.update.digest}


def test_every_error_of_ours_can_be_the_reason_of_a_refusal(
    egress: Egress, coordinator: MinimalCoordinator
) -> None:
    waiting, occasion = [MammofedError], coordinator.announcement().occasion
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        envelope = egress.release_refusal(occasion, kind("message", "hint"))
        assert read(envelope, Refusal, coordinator.home).reason == kind.__name__
