"""A coordinator that wants more than was approved: other weights, again and again, or in spite of a no.

Each attack gets a refusal; what had left before is all that has left.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

import client.own_training
import client.participation
from client.catalog import Part
from client.consenting import Consenting
from client.extent import MAX_ANSWERS, MAX_RELEASES_PER_ATTEMPT
from client.participation import take_part
from client.plan_states import PlanState
from client.training.trainer import Step
from client.workplace import Workplace
from shared.consent.records import Offer
from shared.model import initial_model
from shared.model.weights import to_bytes, weights_of
from shared.records import Announcement, Phase
from shared.trust.envelope import Envelope
from tests.unit.client.participation.conftest import OWNER, PLAN, POLICY, MinimalCoordinator, ledger_rows
from tests.unit.client.participation.test_second_look import contribution_in, refusal_in

ROUNDS = PLAN.rounds.count


def other_weights(scale: float) -> bytes:
    weights = weights_of(initial_model(PLAN))
    return to_bytes({name: tensor * scale for name, tensor in weights.items()})


def answered(announcement: Announcement, coordinator: MinimalCoordinator, workplace: Workplace) -> None:
    contribution_in(take_part(coordinator.ask(announcement), workplace), coordinator.home)


def refused(announcement: Announcement, coordinator: MinimalCoordinator, workplace: Workplace) -> str:
    """The reason of a refusal before which nothing was fetched, and with which nothing else has left."""
    before, fetched = [row.kind for row in ledger_rows(coordinator.home)], list(coordinator.fetched)

    refusal = refusal_in(take_part(coordinator.ask(announcement), workplace), coordinator.home)

    assert [row.kind for row in ledger_rows(coordinator.home)] == [*before, "refusal"]
    assert coordinator.fetched == fetched
    return refusal.reason


# -- again and again


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_round_asked_for_again_with_crafted_weights_gets_nothing(
    attempt: int, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    answered(coordinator.announcement(), coordinator, workplace)

    crafted = coordinator.announcement(attempt=attempt, base=other_weights(1.5))

    assert refused(crafted, coordinator, workplace) == "NotApprovedError"


def test_crafted_weights_to_begin_with_are_refused_and_those_that_round_otherwise_are_not(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    """The seed of the approved plan gives the first weights; nobody chooses them."""
    crafted = coordinator.announcement(base=other_weights(1.001))

    refusal = refusal_in(take_part(coordinator.ask(crafted), workplace), coordinator.home)

    assert refusal.reason == "NotApprovedError"
    assert [row.kind for row in ledger_rows(coordinator.home)] == ["refusal"]
    answered(coordinator.announcement(base=other_weights(1 + 1e-6)), coordinator, workplace)


def test_the_same_attempt_is_not_answered_without_end(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    for _ in range(MAX_RELEASES_PER_ATTEMPT):
        answered(coordinator.announcement(), coordinator, workplace)

    assert refused(coordinator.announcement(), coordinator, workplace) == "NotApprovedError"


def test_an_attempt_that_was_answered_is_over_when_a_later_round_is_done(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    for round_number in (1, 2):
        answered(coordinator.announcement(round_number=round_number), coordinator, workplace)

    assert refused(coordinator.announcement(round_number=1), coordinator, workplace) == "NotApprovedError"


def test_crafted_weights_are_not_evaluated_after_the_final_ones(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    answered(coordinator.announcement(phase=Phase.EVALUATE, round_number=ROUNDS), coordinator, workplace)

    for attempt in (1, 2):
        crafted = coordinator.announcement(
            phase=Phase.EVALUATE, round_number=ROUNDS, attempt=attempt, base=other_weights(1.5)
        )
        assert refused(crafted, coordinator, workplace) == "NotApprovedError"


def test_evaluations_are_not_given_without_end(coordinator: MinimalCoordinator, workplace: Workplace) -> None:
    def asked(attempt: int) -> Announcement:
        return coordinator.announcement(phase=Phase.EVALUATE, round_number=ROUNDS, attempt=attempt)

    for attempt in range(1, MAX_ANSWERS + 1):
        answered(asked(attempt), coordinator, workplace)

    assert refused(asked(MAX_ANSWERS + 1), coordinator, workplace) == "NotApprovedError"


# -- in spite of a no in the middle of a round


def amid_training(
    monkeypatch: pytest.MonkeyPatch, deed: Callable[[], None], *, at_the_end: bool
) -> list[int]:
    """Do something at the first or after the last step; the steps that were taken are noted."""
    steps: list[int] = []

    def make(_occasion: object) -> object:
        def on_step(step: Step) -> None:
            steps.append(step.number)
            if step.number == (step.num_steps if at_the_end else 1):
                deed()

        return on_step

    monkeypatch.setattr(client.own_training, "_tell_step", lambda occasion, _work: make(occasion))
    return steps


def nothing_but_a_refusal(coordinator: MinimalCoordinator, workplace: Workplace) -> str:
    answer = take_part(coordinator.ask(coordinator.announcement()), workplace)
    assert coordinator.ledger_at_send == {}
    assert [row.kind for row in ledger_rows(coordinator.home)] == ["refusal"]
    return refusal_in(answer, coordinator.home).reason


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_plan_that_is_rejected_amid_a_round_lets_nothing_of_it_leave(
    at_the_end: bool, coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject() -> None:
        with Consenting(coordinator.home) as consenting:
            consenting.reject("run-1", "stop now", OWNER)

    steps = amid_training(monkeypatch, reject, at_the_end=at_the_end)

    assert nothing_but_a_refusal(coordinator, workplace) == "NotApprovedError"
    assert at_the_end or steps == [1]


@pytest.mark.parametrize(
    "policy",
    [
        f"{POLICY}allow.plans = []\n",
        f"{POLICY}limits.rounds = 1\n",
        f"{POLICY}privacy.noise = 'required'\n",
        "data.min_examples = 50\negress.smallest_count = 1\n",
        "data.min_examples = 1\negress.smallest_count = 50\n",
    ],
)
def test_a_policy_that_becomes_stricter_amid_a_round_lets_nothing_of_it_leave(
    policy: str, coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    amid_training(monkeypatch, lambda: _write(coordinator, policy), at_the_end=False)

    assert nothing_but_a_refusal(coordinator, workplace) == "PolicyError"


@pytest.mark.parametrize("no", ["a rejection", "a stricter policy"])
def test_a_no_while_the_update_is_sent_keeps_the_contribution_here(
    no: str, coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = workplace.transfer.send

    def send_then_no(*arguments: object, **options: object) -> None:
        send(*arguments, **options)  # type: ignore[arg-type]
        if no == "a stricter policy":
            _write(coordinator, f"{POLICY}limits.rounds = 1\n")
        else:
            with Consenting(coordinator.home) as consenting:
                consenting.reject("run-1", "stop now", OWNER)

    monkeypatch.setattr(workplace.transfer, "send", send_then_no)

    answer = take_part(coordinator.ask(coordinator.announcement()), workplace)

    reason = {"a rejection": "NotApprovedError", "a stricter policy": "PolicyError"}[no]
    assert refusal_in(answer, coordinator.home).reason == reason
    assert [row.kind for row in ledger_rows(coordinator.home)] == ["update", "refusal"]


def test_examples_that_were_taken_out_before_training_leave_too_few_to_train_on(
    coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough = len(workplace.catalog.examples(Part.TRAIN))
    _write(coordinator, f"data.min_examples = {enough}\negress.smallest_count = 1\n")
    evaluate, steps = client.participation._evaluate, amid_training(monkeypatch, list, at_the_end=False)

    def evaluate_then_remove(*arguments: object) -> object:
        evaluation = evaluate(*arguments)  # type: ignore[arg-type]
        for number in range(6):
            if len(workplace.catalog.examples(Part.TRAIN)) == enough:
                workplace.catalog.remove_patient(f"patient-{number}", actor="local:test")
        return evaluation

    monkeypatch.setattr(client.participation, "_evaluate", evaluate_then_remove)

    assert nothing_but_a_refusal(coordinator, workplace) == "EgressError"
    assert steps == []


def test_a_decision_is_written_down_with_its_run(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    coordinator.approve(run_id="run-2")
    with Consenting(coordinator.home) as consenting:
        consenting.reject("run-1", "stop now", OWNER)

    lines = [(line.name, line.details["run_id"]) for line in workplace.audit.lines()]

    assert lines == [("plan.approved", "run-1"), ("plan.approved", "run-2"), ("plan.rejected", "run-1")]


# -- an approval that no person gave


def test_an_approval_that_no_person_gave_ends_when_the_policy_asks_for_one(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    _write(coordinator, f"approval = 'not needed'\n{POLICY}")
    envelope = coordinator.offer(run_id="run-2")
    with Consenting(coordinator.home) as consenting:
        offer = Offer.from_bytes(Envelope.from_bytes(envelope).unverified_payload)
        consenting.plans.keep(offer, envelope=envelope, at=time.time())
        consenting.apply_policy()
        assert consenting.plans.get("run-2").state is PlanState.APPROVED

    _write(coordinator, POLICY)

    announcement = coordinator.announcement(run_id="run-2")
    assert refused(announcement, coordinator, workplace) == "NotApprovedError"
    with Consenting(coordinator.home) as consenting:
        consenting.apply_policy()
        assert consenting.plans.get("run-2").state is PlanState.WAITING
        assert consenting.plans.get("run-1").state is PlanState.APPROVED
        consenting.approve("run-2", OWNER)
    answered(announcement, coordinator, workplace)


def _write(coordinator: MinimalCoordinator, policy: str) -> None:
    coordinator.home.policy_file.write_text(policy)
