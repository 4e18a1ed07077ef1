"""What a plan does not let any site tell, and so no release can wait for."""

from __future__ import annotations

import pytest

from shared.evaluation.records import EVALUATED
from shared.plan import METRIC_NAMES, PatientNoisePlan, Plan, PrivacyPlan, RoundsPlan, SiteNoisePlan
from shared.supplements import SupplementKind, lines_of
from shared.untold import OF_EVALUATION, untold

PLAN = Plan(name="density", rounds=RoundsPlan(count=1))
NOISES = (
    PrivacyPlan(patient_noise=PatientNoisePlan(multiplier=1)),
    PrivacyPlan(secure_aggregation="on", site_noise=SiteNoisePlan(multiplier=1)),
)


def test_a_plan_that_asks_for_a_measure_of_the_model_can_tell_all() -> None:
    assert untold(PLAN) == {}
    for measure in EVALUATED:
        assert untold(PLAN.model_copy(update={"metrics": (measure,)})) == {}


@pytest.mark.parametrize("privacy", NOISES)
def test_under_noise_what_the_run_let_be_known_is_told_alone_and_the_noise_is_why(
    privacy: PrivacyPlan,
) -> None:
    found = untold(PLAN.model_copy(update={"metrics": (), "privacy": privacy}))

    assert list(found) == [kind for kind in SupplementKind if kind is not SupplementKind.PRIVACY]
    assert all("under noise" in why for why in found.values())


def test_what_the_plan_does_not_ask_for_is_not_told() -> None:
    others = tuple(name for name in METRIC_NAMES if name not in EVALUATED)
    assert others

    found = untold(PLAN.model_copy(update={"metrics": others}))

    assert found.keys() == OF_EVALUATION
    assert all("asks sites for no measure" in why for why in found.values())


def test_where_metrics_leave_in_aggregate_only_nobody_can_tell_of_fairness_alone() -> None:
    summed = PrivacyPlan(secure_aggregation="on", metrics="in_aggregate")

    found = untold(PLAN.model_copy(update={"privacy": summed}))

    assert found.keys() == {SupplementKind.FAIRNESS}
    assert "in aggregate only" in found[SupplementKind.FAIRNESS]


def test_a_person_is_told_why_one_is_missing_or_that_it_is_still_to_come() -> None:
    lines = lines_of({}, {SupplementKind.FAIRNESS: "nobody asked"})

    assert f"{SupplementKind.FAIRNESS.words}: not told, nobody asked" in lines
    assert f"{SupplementKind.PRIVACY.words}: not signed yet" in lines
