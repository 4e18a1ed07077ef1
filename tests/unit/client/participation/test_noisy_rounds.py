"""A site's part in a run under noise: its budget is spent once a computed round, and bounds these."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from client.accounting import Steps, epsilon, rounded_up
from client.catalog import Part
from client.cli import app
from client.consenting import Consenting
from client.participation import take_part
from client.workplace import Workplace
from shared.errors import PolicyError
from shared.plan import PatientNoisePlan, Plan, PrivacyPlan, RoundsPlan
from shared.records import REFUSAL_TYPE, Contribution, Refusal
from shared.trust.envelope import Envelope
from tests.unit.client.participation.conftest import (
    PLAN,
    POLICY,
    MinimalCoordinator,
    add_example,
    ledger_rows,
)

NOISE = PatientNoisePlan(multiplier=2.0, gradient_norm=0.5, delta=1e-4)
NOISY = PLAN.model_copy(update={"metrics": (), "privacy": PrivacyPlan(patient_noise=NOISE)})
RUN = "run-noisy"


def ask(
    coordinator: MinimalCoordinator,
    workplace: Workplace,
    number: int = 1,
    *,
    attempt: int = 1,
    plan: Plan = NOISY,
) -> Contribution | Refusal:
    announcement = coordinator.announcement(
        settings=plan, run_id=RUN, round_number=number, attempt=attempt, base=b"" if number > 9 else None
    )
    envelope = Envelope.from_bytes(take_part(coordinator.ask(announcement), workplace))
    kind = Refusal if envelope.payload_type == REFUSAL_TYPE else Contribution
    return kind.from_bytes(envelope.unverified_payload)


def contributed(answer: Contribution | Refusal) -> Contribution:
    assert isinstance(answer, Contribution), answer
    return answer


def steps_here(workplace: Workplace) -> Steps:
    """Of a round of NOISY: the training part's patients, two of them in a step on average."""
    patients = len(set(workplace.catalog.patients(Part.TRAIN).values()))
    assert patients >= 3
    return Steps(chance=2 / patients, multiplier=2.0, count=-(-patients // 2))


def set_budget(coordinator: MinimalCoordinator, most: float) -> None:
    coordinator.home.policy_file.write_text(f"{POLICY}privacy.max_epsilon = {most}\nprivacy.delta = 1e-4\n")


def test_what_is_spent_is_of_the_patients_that_were_drawn_from_though_others_came_meanwhile(
    coordinator: MinimalCoordinator, approved: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More patients would make a smaller chance of each, and the round look cheaper than it was."""
    taken = steps_here(approved)
    train = type(approved.trainer).train

    def train_while_others_come(trainer: object, *arguments: object, **others: object) -> object:
        for seed in range(100, 130):
            add_example(approved.catalog, patient=f"newcomer-{seed}", seed=seed)
        return train(trainer, *arguments, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(type(approved.trainer), "train", train_while_others_come)

    contributed(ask(coordinator, approved))

    assert steps_here(approved) != taken
    assert [each.steps for each in approved.budget.rounds.all()] == [taken]


@pytest.fixture
def approved(coordinator: MinimalCoordinator, workplace: Workplace) -> Workplace:
    coordinator.approve(NOISY, run_id=RUN)
    return workplace


def test_a_round_is_spent_once_however_often_its_update_is_sent(
    coordinator: MinimalCoordinator, approved: Workplace
) -> None:
    first = contributed(ask(coordinator, approved))
    again = contributed(ask(coordinator, approved))
    later = contributed(ask(coordinator, approved, attempt=2))
    second = contributed(ask(coordinator, approved, 2))

    assert first.update == again.update == later.update != second.update
    one = steps_here(approved)
    assert [each.steps for each in approved.budget.rounds.all()] == [one, one]
    assert first.epsilon == again.epsilon == rounded_up(epsilon([one], NOISE.delta))
    assert second.epsilon == rounded_up(epsilon([one, one], NOISE.delta))
    assert first.epsilon < second.epsilon


def test_nothing_but_the_update_and_counts_is_told_of_a_noisy_round(
    coordinator: MinimalCoordinator, approved: Workplace
) -> None:
    """A loss, a measure or how images look would tell of patients beside the noise."""
    told = contributed(ask(coordinator, approved))

    assert told.train_loss is told.evaluation is told.appearance is None
    (line,) = [row for row in ledger_rows(coordinator.home) if row.kind == "contribution"]
    assert "epsilon" in line.names
    assert not [name for name in line.names if name.startswith(("evaluation", "train_loss"))]


def test_a_round_whose_update_was_lost_here_is_computed_and_spent_again(
    coordinator: MinimalCoordinator, approved: Workplace
) -> None:
    first = contributed(ask(coordinator, approved))
    assert first.update is not None
    approved.blobs.remove(first.update.digest)

    again = contributed(ask(coordinator, approved))

    assert again.update != first.update
    assert len(approved.budget.rounds.all()) == 2


def test_a_plan_that_would_go_beyond_the_budget_is_refused_by_name_before_anything_is_computed(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    whole = epsilon([steps_here(workplace)] * NOISY.rounds.count, 1e-4)
    set_budget(coordinator, 0.99 * whole)
    with pytest.raises(PolicyError, match=r"privacy\.max_epsilon: epsilon .* at most"):
        coordinator.approve(NOISY, run_id=RUN)
    set_budget(coordinator, 1.01 * whole)
    coordinator.approve(NOISY, run_id=RUN)
    set_budget(coordinator, 0.99 * whole)

    answer = ask(coordinator, workplace)

    assert isinstance(answer, Refusal)
    assert answer.rules == ("privacy.max_epsilon",)
    assert workplace.budget.rounds.all() == []
    set_budget(coordinator, 1.01 * whole)
    contributed(ask(coordinator, workplace))


def test_when_the_budget_is_spent_the_site_stops_by_itself_and_says_so(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    """Attempts that are computed anew spend beyond what the plan was to cost."""
    plan = NOISY.model_copy(update={"rounds": RoundsPlan(count=1, timeout_s=60, late_updates="refuse")})
    one = steps_here(workplace)
    set_budget(coordinator, 1.01 * epsilon([one, one], 1e-4))
    coordinator.approve(plan, run_id=RUN)
    for attempt in (1, 2):
        contributed(ask(coordinator, workplace, attempt=attempt, plan=plan))

    third = ask(coordinator, workplace, attempt=3, plan=plan)

    assert isinstance(third, Refusal)
    assert third.reason == "PolicyError"
    assert third.rules == ("privacy.max_epsilon",)
    assert len(workplace.budget.rounds.all()) == 2


def test_runs_before_count_towards_the_budget_and_a_plan_without_noise_is_beyond_any(
    coordinator: MinimalCoordinator, approved: Workplace
) -> None:
    budget, one = approved.budget, steps_here(approved)
    contributed(ask(coordinator, approved))

    assert budget.after(NOISY, "run-other", 1e-4) == epsilon([one] * (1 + NOISY.rounds.count), 1e-4)
    assert budget.after(NOISY, RUN, 1e-4) == epsilon([one] * NOISY.rounds.count, 1e-4)
    assert budget.told(NOISY, "run-other") == 0
    set_budget(coordinator, 1000)
    with Consenting(coordinator.home) as consenting:
        offered = consenting.plans.get("run-1")
        assert consenting.guard.broken_rules(offered, approved.membership) == ("privacy.max_epsilon",)


def test_a_policy_that_demands_noise_takes_only_plans_with_as_much(
    coordinator: MinimalCoordinator, approved: Workplace
) -> None:
    guard, policy = approved.guard, coordinator.home.policy_file
    with Consenting(coordinator.home) as consenting:
        plain, noisy = consenting.plans.get("run-1"), consenting.plans.get(RUN)

    policy.write_text(f'{POLICY}privacy.noise = "required"\n')
    assert guard.broken_rules(plain, approved.membership) == ("privacy.noise",)
    assert guard.broken_rules(noisy, approved.membership) == ()
    policy.write_text(f"{POLICY}privacy.least_multiplier = 2.5\n")
    assert guard.broken_rules(noisy, approved.membership) == ("privacy.least_multiplier",)


def test_whom_a_patients_images_belong_to_is_known_to_the_training(
    coordinator: MinimalCoordinator, approved: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two images of one patient are one unit: were they two, she would be in twice."""
    patient = next(iter(approved.catalog.patients(Part.TRAIN).values()))
    add_example(approved.catalog, patient=patient, seed=77)
    seen: list[list[list[int]]] = []
    train = type(approved.trainer).train

    def note(trainer: object, *arguments: object, patients: list[list[int]], **others: object) -> object:
        seen.append(patients)
        return train(trainer, *arguments, patients=patients, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(type(approved.trainer), "train", note)

    contributed(ask(coordinator, approved))

    (patients,) = seen
    whose = approved.catalog.patients(Part.TRAIN)
    dataset = approved.dataset(NOISY, Part.TRAIN)
    assert dataset is not None
    assert sorted(position for positions in patients for position in positions) == list(range(len(dataset)))
    assert len(patients) == len(set(whose.values())) == len(dataset) - 1
    for positions in patients:
        assert len({whose[dataset.example_ids[position]] for position in positions}) == 1


def test_the_site_shows_what_is_spent_and_what_is_left(
    coordinator: MinimalCoordinator, approved: Workplace
) -> None:
    set_budget(coordinator, 50)
    contributed(ask(coordinator, approved))

    said = CliRunner().invoke(app, ["privacy", "--home", str(coordinator.home.folder), "--json"])

    spent = rounded_up(epsilon([steps_here(approved)], 1e-4))
    assert json.loads(said.stdout) == {
        "epsilon": spent,
        "delta": 1e-4,
        "max_epsilon": 50,
        "runs": [{"run_id": RUN, "rounds": 1, "epsilon": spent}],
    }


def test_the_audit_log_tells_of_every_round_that_was_spent_on(
    coordinator: MinimalCoordinator, approved: Workplace
) -> None:
    contributed(ask(coordinator, approved))

    (event,) = [line for line in approved.audit.lines() if line.name == "round.noisy"]
    assert event.details["steps"] == steps_here(approved).count
