"""What is told of evaluations while a site's data changes between rounds and runs."""

from __future__ import annotations

import numpy as np
import pytest

from client.catalog import MaskOrigin, Part
from client.participation import take_part
from client.store.labelled import LabelledExample
from client.workplace import Workplace
from shared.evaluation.records import Evaluation
from shared.records import Contribution, Phase
from shared.trust.envelope import Envelope
from tests.unit.client.participation.conftest import MinimalCoordinator, add_example

ENOUGH = 5
POLICY = f"data.min_examples = 1\negress.smallest_count = {ENOUGH}\n"


@pytest.fixture(autouse=True)
def many_patients(workplace: Workplace, coordinator: MinimalCoordinator) -> None:
    """Thirty patients more, each with one image."""
    coordinator.home.policy_file.write_text(POLICY)
    for seed in range(100, 130):
        add_example(workplace.catalog, patient=f"patient-{seed}", seed=seed)


def in_the_test_part(workplace: Workplace) -> list[LabelledExample]:
    return list(workplace.evaluator.labelled.of(Part.TEST).values())


def told(coordinator: MinimalCoordinator, workplace: Workplace, run_id: str = "run-1") -> Evaluation | None:
    """What the site tells of the final weights of a run."""
    announcement = coordinator.announcement(phase=Phase.EVALUATE, round_number=3, run_id=run_id)
    answer = take_part(coordinator.ask(announcement), workplace)
    return Contribution.from_bytes(Envelope.from_bytes(answer).unverified_payload).evaluation


def test_an_image_that_comes_in_between_two_evaluations_is_not_told_by_their_difference(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    patient, before = in_the_test_part(workplace)[0].patient, told(coordinator, workplace)
    assert before is not None
    assert before.num_examples == len(in_the_test_part(workplace)) > ENOUGH
    coordinator.approve(run_id="run-2")

    add_example(workplace.catalog, patient=patient, seed=200)

    assert told(coordinator, workplace) == before
    assert told(coordinator, workplace, "run-2") == before
    for seed in range(201, 200 + ENOUGH):
        add_example(workplace.catalog, patient=patient, seed=seed)
    after = told(coordinator, workplace, "run-2")
    assert after is not None
    assert after.num_examples == before.num_examples + ENOUGH


def test_a_category_that_comes_in_between_two_evaluations_is_not_told_by_their_difference(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    before = told(coordinator, workplace)
    coordinator.approve(run_id="run-2")
    (some, *_) = in_the_test_part(workplace)

    assert workplace.catalog.complete(some.example_id, None, "c")

    assert told(coordinator, workplace, "run-2") is None
    assert before is not None


def test_a_patient_who_is_taken_out_between_two_evaluations_is_not_told_by_their_difference(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    first, other = in_the_test_part(workplace)[-1], in_the_test_part(workplace)[0]
    assert told(coordinator, workplace) is not None

    with workplace.catalog.importing():
        workplace.catalog.remove_patient(first.patient, actor="local:test")

    assert told(coordinator, workplace) is None
    for seed in range(200, 200 + ENOUGH - 1):
        add_example(workplace.catalog, patient=other.patient, seed=seed)
    assert told(coordinator, workplace) is not None  # four came in, one went out


def test_a_mask_that_is_corrected_between_two_evaluations_is_not_told_by_their_difference(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    assert told(coordinator, workplace) is not None

    corrected = in_the_test_part(workplace)[0].example_id
    with workplace.catalog.importing():
        workplace.catalog.set_mask(corrected, np.full((64, 64), 2, np.uint8), MaskOrigin(kind="png"))

    assert told(coordinator, workplace) is None


def test_an_evaluation_that_is_not_told_is_kept_for_the_sites_own_eyes(
    coordinator: MinimalCoordinator, workplace: Workplace
) -> None:
    coordinator.home.policy_file.write_text("data.min_examples = 1\negress.smallest_count = 12\n")
    take_part(coordinator.ask(coordinator.announcement()), workplace)

    (kept,) = workplace.evaluator.kept.of_run("run-1")

    assert (kept.round_number, kept.phase, kept.may_be_told) == (1, Phase.TRAIN, False)
    assert 0 < kept.evaluation.num_examples < 12
    assert workplace.evaluator.kept.told(Part.VALIDATION) == []
