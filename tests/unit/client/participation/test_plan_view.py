"""What a person sees of a plan before the decision."""

from __future__ import annotations

import time
from pathlib import Path

from client.catalog import Part
from client.consenting import Consenting
from client.participation import take_part
from client.plan_view import PlanView, differences, view_plan
from client.store.ledger import Kind, Rule
from client.workplace import Workplace
from shared.consent.records import Offer
from shared.evaluation.records import Evaluation
from shared.plan import AggregationPlan, Plan
from shared.records import Contribution, Phase
from shared.trust.envelope import Envelope
from tests.unit.client.participation.conftest import OWNER, PLAN, POLICY, MinimalCoordinator

LONGER = PLAN.model_copy(
    update={
        "name": "longer",
        "parent": PLAN.sha256,
        "rounds": PLAN.rounds.model_copy(update={"count": 9}),
        "metrics": ("loss",),
    }
)


def view(coordinator: MinimalCoordinator, workplace: Workplace, run_id: str) -> PlanView:
    with Consenting(coordinator.home) as consenting:
        return view_plan(run_id, consenting, workplace.catalog, workplace.membership)


def offer(coordinator: MinimalCoordinator, plan: Plan, run_id: str) -> None:
    envelope = coordinator.offer(plan, run_id=run_id)
    with Consenting(coordinator.home) as consenting:
        offered = Offer.from_bytes(Envelope.from_bytes(envelope).unverified_payload)
        consenting.plans.keep(offered, envelope=envelope, at=time.time())


def test_differences_name_each_changed_setting_with_both_values() -> None:
    assert differences(PLAN, LONGER) == [
        ("metrics", ", ".join(PLAN.metrics), "loss"),
        ("rounds.count", "3", "9"),
    ]
    assert differences(PLAN, PLAN) == []


def test_the_first_plan_has_nothing_to_be_compared_with_and_tells_what_runs_and_leaves(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    shown = view(coordinator, workplace, "run-1")

    text = "\n".join(shown.lines())
    assert shown.to_json()["compared_with"] is None
    assert shown.to_json()["examples"]["training"] == len(workplace.catalog.examples(Part.TRAIN))
    assert "3 rounds of 1 epoch(s) in batches of 2" in text
    assert f"an update of {shown.tensors} tensors" in text
    assert shown.update_bytes > 2 * shown.tensors > 0  # 16 bits each
    assert "No plan was approved here before." in text


def test_a_bound_on_the_norm_of_an_update_is_told(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    offer(coordinator, PLAN.model_copy(update={"aggregation": AggregationPlan(max_update_norm=2.5)}), "run-2")

    text = "\n".join(view(coordinator, workplace, "run-2").lines())

    assert "shortened here to a norm of 2.5 if it is longer" in text
    assert "shortened" not in "\n".join(view(coordinator, workplace, "run-1").lines())


def test_nothing_leaves_in_a_contribution_that_was_not_told_before_the_decision(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    shown = view(coordinator, workplace, "run-1")

    told, text = shown.to_json()["leaves"]["values"], "\n".join(shown.lines())

    assert set(told) == set(Contribution.model_fields)
    for words in told.values():
        assert words in text
    for name in set(Evaluation.model_fields) - {"num_examples"}:
        assert name in told["evaluation"]
    assert "number of these images" in told["evaluation"]


def test_how_the_weights_do_here_is_shown_whether_it_is_told_or_not(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    assert view(coordinator, workplace, "run-1").to_json()["evaluations"] == []
    take_part(coordinator.ask(coordinator.announcement()), workplace)
    coordinator.home.policy_file.write_text(POLICY.replace("smallest_count = 1", "smallest_count = 2"))
    take_part(coordinator.ask(coordinator.announcement(phase=Phase.EVALUATE, round_number=3)), workplace)

    shown = view(coordinator, workplace, "run-1")

    in_round, final = shown.to_json()["evaluations"]
    assert (in_round["round"], in_round["phase"], in_round["may_be_told"]) == (1, "train", True)
    assert in_round["measures"]["dice_dense"]["num_images"] == in_round["num_examples"] > 0
    assert (final["round"], final["phase"]) == (3, "evaluate")
    assert final["may_be_told"] == (final["num_examples"] >= 2)
    assert "hausdorff_95_dense_px" in final["measures"]
    lines = list(shown.lines())
    assert [line for line in lines if line.startswith("  before round 1, ") and "dense Dice 0." in line]
    assert [line for line in lines if line.startswith("  at the end, ")]
    assert [line for line in lines if line.startswith("    dense Hausdorff distance (px): ")]


def test_every_kind_in_the_ledger_is_explained_with_its_rule() -> None:
    table = (Path(__file__).parents[4] / "docs" / "audit.md").read_text().partition("## Egress ledger")[2]

    assert {kind for kind in Kind if f"`{kind}`" not in table} == set()
    assert {rule for rule in Rule if f"`{rule}`" not in table} == set()


def test_a_child_is_compared_with_its_parent_and_any_other_with_the_plan_approved_last(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    offer(coordinator, LONGER, "run-2")
    offer(coordinator, PLAN, "run-3")
    with Consenting(coordinator.home) as consenting:
        consenting.approve("run-2", OWNER)

    child, other = view(coordinator, workplace, "run-2"), view(coordinator, workplace, "run-3")

    assert child.compared is not None
    assert child.compared.plan == PLAN
    assert "  rounds.count: 3 -> 9" in list(child.lines())
    assert other.to_json()["compared_with"] == "run-2"
    assert "  rounds.count: 9 -> 3" in list(other.lines())


def test_each_rule_that_is_broken_is_marked_and_a_wrong_policy_is_told(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    home = coordinator.home
    home.policy_file.write_text(f"{POLICY}limits.rounds = 2\n")
    assert "  ✗ limits.rounds: 3 rounds; at most 2" in list(view(coordinator, workplace, "run-1").lines())

    home.policy_file.write_text("limits.rounds = 0\n")

    shown = view(coordinator, workplace, "run-1")
    assert shown.rulings == []
    assert shown.policy_fault.startswith("policy.toml, line 1: 'limits.rounds' must be")
