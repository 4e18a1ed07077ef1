"""A site in a run that goes on from another one, or starts from weights that were given."""

from __future__ import annotations

import pytest
import torch

from client.consenting import Consenting
from client.participation import take_part
from client.plan_states import PlanState
from client.plan_view import view_plan
from client.training.local_round import own_weights
from client.workplace import Workplace
from shared.consent.records import Offer
from shared.errors import PolicyError
from shared.model import Weights, initial_model
from shared.model.sent import local_names
from shared.model.weights import to_bytes, weights_of
from shared.plan import AggregationPlan, Plan
from shared.records import Contribution, Counted, Phase
from shared.transfer.blob_ref import BlobRef
from shared.trust.envelope import Envelope
from tests.unit.client.participation.conftest import OWNER, PLAN, MinimalCoordinator
from tests.unit.client.participation.test_second_look import contribution_in, refused

FEDBN = PLAN.model_copy(update={"aggregation": AggregationPlan(strategy="fedbn")})
PARENT, CHILD = "run-1", "run-2"


def weights_plus(shift: float) -> bytes:
    return to_bytes({name: tensor + shift for name, tensor in weights_of(initial_model(PLAN)).items()})


def final() -> bytes:
    """What the parent came to."""
    return weights_plus(0.5)


def child_of(plan: Plan, **changes: object) -> Plan:
    return plan.model_copy(
        update={
            "parent": plan.sha256,
            "initial_weights": BlobRef.of(final()).digest,
            "extends": (PARENT,),
            **changes,
        }
    )


def offered(coordinator: MinimalCoordinator, plan: Plan, run_id: str = CHILD) -> Consenting:
    """A plan that has come in, and what the policy of itself makes of it."""
    consenting = Consenting(coordinator.home)
    envelope = coordinator.offer(plan, run_id=run_id)
    offer = Offer.from_bytes(Envelope.from_bytes(envelope).unverified_payload)
    consenting.plans.keep(offer, envelope=envelope, at=1e9)
    consenting.apply_policy()
    return consenting


def measure(coordinator: MinimalCoordinator, workplace: Workplace, weights: bytes) -> None:
    """Evaluate the final weights of the parent."""
    number = PLAN.rounds.count
    asked = coordinator.announcement(phase=Phase.EVALUATE, round_number=number, base=weights)
    contribution_in(take_part(coordinator.ask(asked), workplace), coordinator.home)


# -- what a plan may go on from


def test_an_extension_is_shown_as_one_and_approved(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    measure(coordinator, workplace, final())
    plan = child_of(PLAN, rounds=PLAN.rounds.model_copy(update={"count": 9}))
    with offered(coordinator, plan) as consenting:
        view = view_plan(CHILD, consenting, workplace.catalog, workplace.membership)
        assert consenting.approve(CHILD, OWNER).state is PlanState.APPROVED

    lines = list(view.lines())
    assert f"  goes on from {PARENT}: its final weights (SHA-256 {plan.initial_weights})," in lines
    assert "  rounds.count: 3 -> 9" in lines
    assert view.to_json()["compared_with"] == PARENT
    assert {each["rule"]: each["met"] for each in view.to_json()["rules"]}["plan.extends"] is True


def test_weights_that_the_coordinator_gives_are_shown_and_a_plan_of_its_own_says_nothing(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    digest = BlobRef.of(final()).digest
    with offered(coordinator, PLAN.model_copy(update={"initial_weights": digest})) as consenting:
        given = view_plan(CHILD, consenting, workplace.catalog, workplace.membership)
        own = view_plan(PARENT, consenting, workplace.catalog, workplace.membership)

    assert f"  starts from weights that the coordinator gives (SHA-256 {digest})" in list(given.lines())
    assert not [line for line in own.lines() if "SHA-256" in line and "weights" in line]
    assert "plan.extends" not in {each["rule"] for each in own.to_json()["rules"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aggregation": AggregationPlan(strategy="fedbn")}, "another network or strategy"),
        ({"parent": "e" * 64}, "another plan than the one"),
        ({"initial_weights": "f" * 64}, "measured here are others"),
    ],
    ids=["another strategy", "another parent", "other weights"],
)
def test_a_plan_that_only_says_that_it_goes_on_from_a_run_is_refused_by_itself(
    changes: dict[str, object], words: str, coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = child_of(PLAN, **changes)
    measure(coordinator, workplace, final())

    with offered(coordinator, plan) as consenting:
        assert consenting.plans.get(CHILD).state is PlanState.BARRED
        assert consenting.plans.get(CHILD).rules == ("plan.extends",)
        lines = list(view_plan(CHILD, consenting, workplace.catalog, workplace.membership).lines())
        with pytest.raises(PolicyError):
            consenting.approve(CHILD, OWNER)

    assert [line for line in lines if line.startswith("  ✗ plan.extends:") and words in line]


def test_a_site_that_had_no_part_in_the_runs_before_approves_as_it_likes(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = child_of(FEDBN, extends=("run-unknown",))

    with offered(coordinator, plan) as consenting:
        assert consenting.approve(CHILD, OWNER).state is PlanState.APPROVED


# -- what is asked under it


def test_a_first_round_from_other_weights_than_the_plan_names_gets_nothing(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = child_of(PLAN)
    coordinator.approve(plan, run_id=CHILD)
    coordinator.fetched.clear()
    crafted = coordinator.announcement(settings=plan, run_id=CHILD, base=weights_plus(0.25))

    assert refused(crafted, coordinator, workplace).reason == "NotApprovedError"
    assert coordinator.fetched == []

    named = coordinator.announcement(settings=plan, run_id=CHILD, base=final())
    assert contribution_in(take_part(coordinator.ask(named), workplace), coordinator.home).update is not None


def test_going_on_from_a_run_that_the_plan_does_not_name_gets_nothing(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    plan = child_of(PLAN)
    coordinator.approve(plan, run_id=CHILD)
    crafted = coordinator.announcement(
        settings=plan, run_id=CHILD, base=final(), counted=Counted(run_id="run-9", round_number=1)
    )

    assert refused(crafted, coordinator, workplace).reason == "NotApprovedError"


# -- what is taken up again


@pytest.mark.parametrize("counted", [Counted(run_id=PARENT, round_number=2), None])
def test_what_the_site_kept_of_the_run_before_is_taken_up_again_if_it_had_a_part_in_it(
    counted: Counted | None,
    coordinator: MinimalCoordinator,
    home,
    monkeypatch: pytest.MonkeyPatch,
    workplace: Workplace,
) -> None:
    first, parent = "run-0", FEDBN
    coordinator.approve(parent, run_id=first)
    plan = child_of(parent, extends=(first,))
    coordinator.approve(plan, run_id=CHILD)
    for number in (1, 2):
        asked = coordinator.announcement(settings=parent, run_id=first, round_number=number)
        answer(asked, coordinator, workplace)
    counted = counted and counted.model_copy(update={"run_id": first})
    kept = workplace.records.state_after(counted)
    began: list[Weights] = []

    def seen(weights: Weights, *settings: object) -> Weights:
        began.append(own_weights(weights, *settings))
        return began[-1]

    monkeypatch.setattr("client.training.local_round.own_weights", seen)

    asked = coordinator.announcement(settings=plan, run_id=CHILD, base=final(), counted=counted)
    answer(asked, coordinator, workplace)

    local = local_names(initial_model(plan), plan.aggregation)
    assert len(local) > 0
    for name in local:
        base = weights_of(initial_model(plan))[name] + 0.5
        assert torch.equal(began[0][name], kept[f"local:{name}"] if counted else base)
    # What was taken up is still there: another attempt at this round starts from it as well.
    assert (home.rounds / first / "2.round").exists()


def answer(asked, coordinator: MinimalCoordinator, workplace: Workplace) -> Contribution:
    contribution = contribution_in(take_part(coordinator.ask(asked), workplace), coordinator.home)
    assert contribution.update is not None
    return contribution
