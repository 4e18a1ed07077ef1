"""What is needed for a plan is one clear rule, and what is missing is said as a number."""

from __future__ import annotations

import pytest

from client.catalog import Counts, Part
from client.readiness import Finding, assess
from shared.plan import ModelPlan, Plan, RoundsPlan, TrainingPlan


def plan(batch_size: int = 4) -> Plan:
    return Plan(name="pilot", rounds=RoundsPlan(count=3), training=TrainingPlan(batch_size=batch_size))


def counts(train: int, validation: int, test: int, *, unlabelled: int = 0, categories: int = 0) -> Counts:
    labelled = {Part.TRAIN: train, Part.VALIDATION: validation, Part.TEST: test}
    patients = {part: min(number, 1) for part, number in labelled.items()}
    total = sum(labelled.values())
    return Counts(
        examples=total + unlabelled,
        labelled=total,
        patients=sum(patients.values()),
        by_part=labelled,
        categories_by_part=dict.fromkeys(Part, categories),
        patients_by_part=patients,
        by_manufacturer={},
        by_view={},
        by_laterality={},
        by_year={},
        by_density={},
        by_mask={},
    )


def finding(name: str, here: Counts, batch_size: int = 4) -> Finding:
    return next(one for one in assess(here, plan(batch_size)).findings if one.name == name)


def test_under_a_plan_with_a_head_for_them_categories_do_for_masks() -> None:
    here = counts(1, 0, 0, unlabelled=9, categories=3)
    with_head = plan().model_copy(update={"model": ModelPlan(density_band="readers")})
    assert assess(here, with_head).ready
    assert not assess(here, plan()).ready


def test_one_batch_and_one_example_in_each_other_part_are_enough() -> None:
    readiness = assess(counts(4, 1, 1), plan(batch_size=4))
    assert readiness.ready
    assert readiness.plan_name == "pilot"


@pytest.mark.parametrize(
    ("train", "validation", "test", "lacking", "missing"),
    [
        (3, 1, 1, "training masks", 1),
        (0, 1, 1, "training masks", 4),
        (4, 0, 1, "validation masks", 1),
        (4, 1, 0, "test masks", 1),
    ],
)
def test_each_thing_that_is_missing_alone_makes_a_site_unready(
    train: int, validation: int, test: int, lacking: str, missing: int
) -> None:
    readiness = assess(counts(train, validation, test), plan(batch_size=4))
    assert not readiness.ready
    failed = [one for one in readiness.findings if one.required and not one.passed]
    assert [(one.name, one.missing_masks) for one in failed] == [(lacking, missing)]
    assert failed[0].remedy


def test_what_is_needed_grows_with_the_batch() -> None:
    assert finding("training masks", counts(7, 1, 1), batch_size=8).missing_masks == 1
    assert finding("training masks", counts(7, 1, 1), batch_size=7).passed


def test_ten_batches_are_recommended_and_fewer_do_not_stop_a_site() -> None:
    recommended = finding("recommended training masks", counts(30, 1, 1), batch_size=4)
    assert recommended.missing_masks == 10
    assert "30 labelled" in recommended.finding
    assert "40 recommended" in recommended.finding
    assert assess(counts(30, 1, 1), plan(4)).ready
    assert finding("recommended training masks", counts(40, 1, 1), batch_size=4).passed


def test_the_remedy_names_what_would_help() -> None:
    waiting = finding("training masks", counts(1, 1, 1, unlabelled=25))
    assert "3 masks" in waiting.remedy
    assert "25 examples" in waiting.remedy
    assert "more patients" in finding("test masks", counts(4, 1, 0)).remedy
    assert finding("training masks", counts(4, 1, 1)).remedy == ""
