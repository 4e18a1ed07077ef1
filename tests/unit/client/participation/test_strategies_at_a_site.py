"""A site's part in each strategy, and what it carries from round to round."""

from __future__ import annotations

import pytest
import torch

from client.consenting import Consenting
from client.participation import Workplace, take_part
from shared.errors import StoreError
from shared.model import Weights, initial_model
from shared.model.sent import EXPONENTS, control_of, local_names, sent_shapes
from shared.model.weights import to_bytes, weights_of
from shared.plan import AggregationPlan, Plan
from shared.records import Contribution, Phase
from shared.trust.envelope import Envelope
from tests.unit.client.participation.conftest import PLAN, POLICY, MinimalCoordinator


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


def asked(
    coordinator: MinimalCoordinator, workplace: Workplace, plan: Plan, **announced: object
) -> tuple[Contribution, Weights]:
    """One round: the contribution, and the update as the coordinator reads it."""
    announcement = coordinator.announcement(settings=plan, run_id=run_of(coordinator, plan), **announced)
    envelope = Envelope.from_bytes(take_part(coordinator.ask(announcement), workplace))
    contribution = Contribution.from_bytes(envelope.unverified_payload)
    assert contribution.update is not None
    return contribution, coordinator.received_update(contribution.update, announcement, plan)


def test_under_fedbn_normalisation_layers_stay_and_are_taken_up_again_in_the_next_round(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = plan_with(strategy="fedbn")
    local = local_names(initial_model(plan), plan.aggregation)

    first, update = asked(coordinator, workplace, plan)
    kept = workplace.records.state_before(first.occasion.model_copy(update={"round_number": 2}))
    asked(coordinator, workplace, plan, round_number=2)
    kept_then = workplace.records.state_before(first.occasion.model_copy(update={"round_number": 3}))

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
    own = workplace.records.state_before(first.occasion.model_copy(update={"round_number": 2}))
    _, second = asked(coordinator, workplace, plan, terms={"state": state}, round_number=2)
    own_then = workplace.records.state_before(first.occasion.model_copy(update={"round_number": 3}))

    assert update.keys() == {*base, *common}
    step = 2**-15 * 2  # of the grid, for a site with half of all weight
    for name in common:
        torch.testing.assert_close(update[name], own[name], rtol=0, atol=step)
        torch.testing.assert_close(second[name], own_then[name] - own[name], rtol=0, atol=step)
    assert any(bool(tensor.abs().max() > step) for name, tensor in own.items())


def test_with_eight_bits_what_rounding_owes_is_kept_and_paid_in_the_next_round(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = plan_with(bits=8)
    exponents = {"exponents": [-9] * len(sent_shapes(initial_model(plan), plan.aggregation))}

    first, _ = asked(coordinator, workplace, plan, terms=exponents)
    owed = workplace.records.state_before(first.occasion.model_copy(update={"round_number": 2}))

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


def test_a_new_attempt_at_a_round_starts_from_the_state_before_it_and_not_from_its_own(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = plan_with(strategy="fedbn")
    asked(coordinator, workplace, plan)
    second, _ = asked(coordinator, workplace, plan, round_number=2)
    before = workplace.records.state_before(second.occasion)

    asked(coordinator, workplace, plan, round_number=2, attempt=2)

    again = workplace.records.state_before(second.occasion.model_copy(update={"attempt": 3}))
    assert before.keys() == again.keys()
    assert all(torch.equal(before[name], again[name]) for name in before)


def test_state_and_answer_are_there_together_or_not_at_all(
    coordinator: MinimalCoordinator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_with(bits=8)
    announcement = coordinator.announcement(settings=plan, run_id=run_of(coordinator, plan))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("client.round_records.write_file", killed)
        with pytest.raises(KeyboardInterrupt):
            take_part(coordinator.ask(announcement), workplace)

    later = announcement.occasion.model_copy(update={"round_number": 2})
    assert coordinator.ledger_at_send == {}
    assert workplace.records.find(announcement.occasion) is None
    assert workplace.records.state_before(later) == {}


def test_a_damaged_record_is_told_and_never_taken_for_a_fresh_start(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    first, _ = asked(coordinator, workplace, PLAN)
    (file,) = (coordinator.home.rounds / "run-1").iterdir()
    file.write_bytes(file.read_bytes()[:40])

    with pytest.raises(StoreError, match="damaged"):
        workplace.records.state_before(first.occasion.model_copy(update={"round_number": 2}))


def test_only_the_last_two_rounds_of_a_run_are_kept(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    for number in (1, 2, 3):
        asked(coordinator, workplace, PLAN, round_number=number)
    take_part(coordinator.ask(coordinator.announcement(phase=Phase.EVALUATE, round_number=3)), workplace)

    names = {file.name for file in (coordinator.home.rounds / "run-1").iterdir()}
    assert names == {"2.round", "3.round"}
