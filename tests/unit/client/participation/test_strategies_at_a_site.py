"""A site's part in each strategy, and what it carries from round to round."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from client.catalog import Part
from client.consenting import Consenting
from client.participation import take_part
from client.training.local_round import own_weights
from client.workplace import Workplace, open_workplace
from shared.errors import StoreError
from shared.model import Weights, initial_model
from shared.model.sent import EXPONENTS, control_of, local_names, sent_shapes
from shared.model.weights import to_bytes, weights_of
from shared.plan import AggregationPlan, Plan
from shared.records import REFUSAL_TYPE, Contribution, Counted, Phase, Refusal, Rejected
from shared.trust.envelope import Envelope
from tests.unit.client.participation.conftest import (
    PLAN,
    POLICY,
    MinimalCoordinator,
    add_example,
    ledger_rows,
)

KILLED = 137


def plan_with(**settings: object) -> Plan:
    return PLAN.model_copy(update={"aggregation": AggregationPlan.model_validate(settings)})


def run_of(coordinator: MinimalCoordinator, plan: Plan) -> str:
    """A run under a plan, which the site has approved."""
    if plan == PLAN:
        return "run-1"
    run_id = f"run-{plan.sha256[:8]}"
    with Consenting(coordinator.home) as consenting:
        offered = {each.run_id for each in consenting.plans.all()}
    if run_id not in offered:
        coordinator.approve(plan, run_id=run_id)
    return run_id


def contribution_of(answer: bytes) -> Contribution:
    return Contribution.from_bytes(Envelope.from_bytes(answer).unverified_payload)


def asked(
    coordinator: MinimalCoordinator, workplace: Workplace, plan: Plan, **announced: object
) -> tuple[Contribution, Weights]:
    """One round: the contribution, and the update as the coordinator reads it."""
    announcement = coordinator.announcement(settings=plan, run_id=run_of(coordinator, plan), **announced)
    contribution = contribution_of(take_part(coordinator.ask(announcement), workplace))
    assert contribution.update is not None
    return contribution, coordinator.received_update(contribution.update, announcement, plan)


def kept_after(workplace: Workplace, answered: Contribution, *, round_number: int) -> Weights:
    """What the site keeps of a round, for the one that follows."""
    counted = Counted(run_id=answered.occasion.run_id, round_number=round_number)
    return workplace.records.state_after(counted)


def test_under_fedbn_normalisation_layers_stay_and_are_taken_up_again_in_the_next_round(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = plan_with(strategy="fedbn")
    local = local_names(initial_model(plan), plan.aggregation)

    first, update = asked(coordinator, workplace, plan)
    kept = kept_after(workplace, first, round_number=1)
    asked(coordinator, workplace, plan, round_number=2)
    kept_then = kept_after(workplace, first, round_number=2)

    base = weights_of(initial_model(plan))
    assert update.keys() == base.keys() - local
    assert kept.keys() == kept_then.keys() == {f"local:{name}" for name in local}
    assert all((kept[f"local:{name}"] != base[name]).any() for name in local)
    first_way, second_way = (
        sum(float(((state[f"local:{name}"] - base[name]) ** 2).sum()) for name in local)
        for state in (kept, kept_then)
    )
    assert second_way > first_way  # the second round, of smaller steps, went on where the first had ended


def test_under_fedprox_a_strong_pull_keeps_the_site_nearer_to_the_rounds_weights(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    coordinator.home.policy_file.write_text(f"{POLICY}limits.local_epochs = 20\n")
    training = PLAN.training.model_copy(update={"local_epochs": 20, "learning_rate": 0.01})
    base = PLAN.model_copy(update={"training": training})
    ways = {}
    for mu in (1e-9, 10.0):
        plan = base.model_copy(update={"aggregation": AggregationPlan(strategy="fedprox", proximal_mu=mu)})
        exponents = {"exponents": [-12] * len(sent_shapes(initial_model(plan), plan.aggregation))}
        _, update = asked(coordinator, workplace, plan, terms=exponents)
        ways[mu] = sum(float((tensor**2).sum()) for tensor in update.values())

    assert ways[10.0] < 0.8 * ways[1e-9]


def test_under_scaffold_a_site_sends_the_change_of_its_variate_and_keeps_the_new_one(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = plan_with(strategy="scaffold")
    base = weights_of(initial_model(plan))
    common = {control_of(name): torch.zeros_like(tensor) for name, tensor in base.items()}
    state = coordinator.blobs.put_bytes(to_bytes({**common, EXPONENTS: torch.zeros(2 * len(base))}))

    first, update = asked(coordinator, workplace, plan, terms={"state": state})
    own = kept_after(workplace, first, round_number=1)
    _, second = asked(coordinator, workplace, plan, terms={"state": state}, round_number=2)
    own_then = kept_after(workplace, first, round_number=2)

    assert update.keys() == {*base, *common}
    step = 2**-15 * 2  # of the grid, for a site with half of all weight
    for name in common:
        torch.testing.assert_close(update[name], own[name])
        torch.testing.assert_close(second[name], own_then[name] - own[name], rtol=1e-5, atol=1e-6)
    assert any(bool(tensor.abs().max() > step) for name, tensor in own.items())


@pytest.mark.parametrize("bits", [8, 16])
def test_under_scaffold_a_variate_moves_by_what_was_sent_however_much_was_clipped(
    bits: int, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = plan_with(strategy="scaffold", bits=bits)
    base = weights_of(initial_model(plan))
    common = {control_of(name): torch.zeros_like(tensor) for name, tensor in base.items()}
    state = coordinator.blobs.put_bytes(to_bytes({**common, EXPONENTS: torch.zeros(2 * len(base))}))
    reach = 2.0**-12  # nearly all that a site may say of a gradient is clipped to this
    exponents = [-11 - bits if name in common else -9 for name in sorted({**base, **common})]
    terms = {"state": state, "exponents": exponents}

    first, update = asked(coordinator, workplace, plan, terms=terms)
    own = kept_after(workplace, first, round_number=1)
    second, then = asked(coordinator, workplace, plan, terms=terms, round_number=2)
    own_then = kept_after(workplace, second, round_number=2)

    assert first.num_clipped > 100
    for name in common:
        assert float(own[name].abs().max()) <= 2 * reach
        torch.testing.assert_close(own[name], update[name])
        torch.testing.assert_close(own_then[name], update[name] + then[name])
    assert not any(name.startswith("residual:control:") for name in own)


def test_with_eight_bits_what_rounding_owes_is_kept_and_paid_in_the_next_round(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = plan_with(bits=8)
    exponents = {"exponents": [-9] * len(sent_shapes(initial_model(plan), plan.aggregation))}

    first, _ = asked(coordinator, workplace, plan, terms=exponents)
    owed = kept_after(workplace, first, round_number=1)

    assert owed.keys() == {f"residual:{name}" for name in weights_of(initial_model(plan))}
    assert 0 < max(float(tensor.abs().max()) for tensor in owed.values()) <= 2**-9


@pytest.mark.parametrize(("bits", "exponent"), [(8, -13), (16, -20)])
def test_an_update_that_is_longer_than_the_plan_allows_is_shortened_before_it_leaves(
    bits: int, exponent: int, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = plan_with(bits=bits, max_update_norm=0.02)
    free = plan_with(bits=bits)
    exponents = {"exponents": [exponent] * len(sent_shapes(initial_model(plan), plan.aggregation))}
    norms = {}
    for each in (plan, free):
        _, update = asked(coordinator, workplace, each, terms=exponents)
        norms[each.sha256] = float(sum((tensor**2).sum() for tensor in update.values())) ** 0.5

    assert norms[free.sha256] > 0.03  # what is learnt here goes farther
    assert norms[plan.sha256] == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("counted", [0, 1])
def test_a_round_starts_from_the_last_contribution_that_counts_and_not_from_what_came_to_nothing(
    counted: int, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    """Of two rounds before the third, the second came too late; or neither of them counts."""
    plan = plan_with(strategy="fedbn")
    base = weights_of(initial_model(plan))
    began: list[Weights] = []

    def seen(weights: Weights, *settings: object) -> Weights:
        began.append(own_weights(weights, *settings))
        return began[-1]

    with pytest.MonkeyPatch.context() as patch:
        first, _ = asked(coordinator, workplace, plan, counted=0)
        after_first = kept_after(workplace, first, round_number=1)
        asked(coordinator, workplace, plan, round_number=2, counted=counted)
        patch.setattr("client.training.local_round.own_weights", seen)
        asked(coordinator, workplace, plan, round_number=3, counted=counted)

    for name in local_names(initial_model(plan), plan.aggregation):
        assert torch.equal(began[0][name], after_first[f"local:{name}"] if counted else base[name])


def test_a_new_attempt_at_a_round_starts_from_where_the_first_one_did(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    rounds = PLAN.rounds.model_copy(update={"late_updates": "refuse"})
    plan = plan_with(strategy="fedbn").model_copy(update={"rounds": rounds})
    first, _ = asked(coordinator, workplace, plan)
    before = kept_after(workplace, first, round_number=1)
    second, _ = asked(coordinator, workplace, plan, round_number=2)
    in_first_attempt = kept_after(workplace, second, round_number=2)

    asked(coordinator, workplace, plan, round_number=2, attempt=2)

    after = kept_after(workplace, second, round_number=2)
    still_before = kept_after(workplace, first, round_number=1)
    assert all(torch.equal(before[name], still_before[name]) for name in before)
    # Other random numbers, and no further than one round from there.
    assert any(not torch.equal(in_first_attempt[name], after[name]) for name in after)


def killed(*_: object, **__: object) -> None:
    """Nothing follows."""
    os._exit(KILLED)


def is_killed(deed: Callable[[], object]) -> bool:
    """Do something in a process of its own that is killed amid it: no handler of an error runs there."""
    process_id = os.fork()
    if process_id == 0:
        with contextlib.suppress(BaseException):
            deed()
        os._exit(0)
    _, status = os.waitpid(process_id, 0)
    return os.waitstatus_to_exitcode(status) == KILLED


def test_of_a_record_whose_writing_was_cut_short_there_is_nothing(
    coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_with(bits=8)
    first, _ = asked(coordinator, workplace, plan)
    record = workplace.records.find(coordinator.announcement(settings=plan, run_id=run_of(coordinator, plan)))
    assert record is not None
    later = replace(record, occasion=record.occasion.model_copy(update={"round_number": 2}))
    monkeypatch.setattr("shared.files.Path.replace", killed)  # all is written but not in its place

    assert is_killed(lambda: workplace.records.keep(later))

    (left,) = coordinator.home.rounds.glob("*/.2.round.*")
    assert left.stat().st_size > 0
    counted = Counted(run_id=record.occasion.run_id, round_number=2)
    assert workplace.records.state_after(counted) == {}
    assert kept_after(workplace, first, round_number=1) != {}


@pytest.mark.parametrize(
    "moment",
    ["client.egress.Egress.release_update", "shared.transfer.client.BlobClient.send"],
    ids=["before the gate", "before the upload"],
)
def test_a_site_that_is_killed_with_its_answer_on_record_sends_the_stored_bytes_and_computes_nothing(
    moment: str, coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_with(bits=8)
    announcement = coordinator.announcement(settings=plan, run_id=run_of(coordinator, plan))

    def be_interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(moment, be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            take_part(coordinator.ask(announcement), workplace)
    record = workplace.records.find(announcement)
    assert record is not None
    assert coordinator.ledger_at_send == {}
    again = open_workplace(coordinator.home)
    monkeypatch.setattr("client.training.site_trainer.train", None)
    monkeypatch.setattr("client.evaluation.evaluator.evaluate_images", None)

    answered = contribution_of(take_part(coordinator.ask(announcement), again))

    assert answered.update == record.update
    assert answered.train_loss == record.training.loss
    coordinator.received(record.update)
    owed = kept_after(again, answered, round_number=1)
    assert owed.keys() == record.state.keys()
    assert all(torch.equal(owed[name], record.state[name]) for name in owed)
    again.catalog.close()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_record_that_is_cut_short_is_told_and_never_taken_for_a_fresh_start(
    share: float, coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_with(bits=8)
    first, _ = asked(coordinator, workplace, plan)
    (file,) = coordinator.home.rounds.glob("*/1.round")
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    monkeypatch.setattr("client.training.site_trainer.train", None)

    with pytest.raises(StoreError, match="damaged"):
        kept_after(workplace, first, round_number=1)
    for number in (1, 2):
        announcement = coordinator.announcement(
            settings=plan, run_id=run_of(coordinator, plan), round_number=number
        )
        answer = Envelope.from_bytes(take_part(coordinator.ask(announcement), workplace))
        assert answer.payload_type == REFUSAL_TYPE
        assert Refusal.from_bytes(answer.unverified_payload).reason == "StoreError"


def test_of_a_run_the_last_round_is_kept_and_the_last_that_counts(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    for number, counted in ((1, 0), (2, 1), (3, 1)):
        asked(coordinator, workplace, PLAN, round_number=number, counted=counted)
    take_part(coordinator.ask(coordinator.announcement(phase=Phase.EVALUATE, round_number=3)), workplace)

    names = {file.name for file in (coordinator.home.rounds / "run-1").iterdir()}
    assert names == {"1.round", "3.round"}


# -- updates that came too late


def test_an_update_that_came_too_late_is_sent_in_the_next_attempt_and_nothing_is_computed(
    coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_with(bits=8)
    late, _ = asked(coordinator, workplace, plan)
    monkeypatch.setattr("client.training.site_trainer.train", None)

    used, _ = asked(coordinator, workplace, plan, attempt=2)

    assert used.update == late.update
    assert used.occasion == late.occasion.model_copy(update={"attempt": 2})
    assert used.train_loss == late.train_loss
    kinds = [(line.kind, line.attempt) for line in ledger_rows(coordinator.home)]
    assert kinds == [("update", 1), ("contribution", 1), ("update", 2), ("contribution", 2)]


REFUSING = PLAN.model_copy(update={"rounds": PLAN.rounds.model_copy(update={"late_updates": "refuse"})})


@pytest.mark.parametrize(
    ("plan", "changes"),
    [
        (REFUSING, {}),
        (PLAN, {"terms": {"weight": 1, "total": 3}}),
        (PLAN, {"rejected": Rejected(round_number=1, attempt=1, reason="It was damaged.")}),
        (PLAN, {"data": "another example"}),
    ],
    ids=["the plan refuses it", "other terms", "it was rejected", "other data"],
)
def test_an_update_that_came_too_late_is_computed_anew_if_it_may_not_stand_for_another(
    plan: Plan, changes: dict, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    late, _ = asked(coordinator, workplace, plan)
    if changes.pop("data", None):
        add_example(workplace.catalog, patient="patient-9", seed=99)
        assert len(workplace.catalog.examples(Part.TRAIN)) > late.num_examples

    anew, _ = asked(coordinator, workplace, plan, attempt=2, **changes)

    assert anew.update != late.update


def test_an_update_that_came_too_late_is_computed_anew_if_it_began_from_another_state(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    asked(coordinator, workplace, PLAN)
    late, _ = asked(coordinator, workplace, PLAN, round_number=2, counted=1)

    anew, _ = asked(coordinator, workplace, PLAN, round_number=2, attempt=2, counted=0)

    assert anew.update != late.update


def test_a_rejected_contribution_is_told_at_the_site_once(
    coordinator: MinimalCoordinator, workplace: Workplace, caplog: pytest.LogCaptureFixture
) -> None:
    rejected = Rejected(round_number=1, attempt=1, reason="A contribution was rejected. It was too long.")

    for attempt in (1, 2):
        asked(coordinator, workplace, PLAN, round_number=2, attempt=attempt, counted=0, rejected=rejected)

    (line,) = (each for each in workplace.audit.lines() if each.name == "contribution.rejected")
    assert (line.actor, line.subject) == ("coordinator", "run-1")
    assert line.details == {"number": 1, "attempt": 1, "phase": "train", "reason": rejected.reason}
    told = [each.getMessage() for each in caplog.records if "was rejected" in each.getMessage()]
    assert told == [f"the contribution to round 1 was rejected: {rejected.reason}"]
