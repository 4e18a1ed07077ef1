"""What the policy decides, from what is asked and the time."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from client.policy.decisions import Asked, Site, broken, next_opening, reported_count
from client.policy.policy import (
    AllowTable,
    DataTable,
    EgressTable,
    HoursTable,
    LimitsTable,
    Policy,
    PrivacyTable,
)
from shared.plan import PersonalisationPlan, Plan, PrivacyPlan, RoundsPlan, TrainingPlan

BUNDLE = "b" * 64
PLAN = Plan(
    name="density-2",
    rounds=RoundsPlan(count=20),
    training=TrainingPlan(local_epochs=3),
    personalisation=PersonalisationPlan(layers="norms", epochs=5),
)
ASKED = Asked(coordinator="Density study", run_id="run-7", plan=PLAN, bundle_sha256=BUNDLE)
SITE = Site(coordinator="Density study", num_examples=100, epsilon=math.inf, approved_bundles={BUNDLE})


def names(policy: Policy, asked: Asked = ASKED, site: Site = SITE) -> list[str]:
    return [each.rule for each in broken(policy, asked, site)]


def test_an_ordinary_plan_keeps_to_the_default_policy() -> None:
    assert names(Policy()) == []


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        (Policy(allow=AllowTable(coordinators=("Another study",))), "allow.coordinators"),
        (Policy(allow=AllowTable(coordinators=())), "allow.coordinators"),
        (Policy(allow=AllowTable(plans=("lesion-*", "density"))), "allow.plans"),
        (Policy(allow=AllowTable(runs=("run-8",))), "allow.runs"),
        (Policy(allow=AllowTable(bundles=("a" * 64,))), "allow.bundles"),
        (Policy(limits=LimitsTable(rounds=19)), "limits.rounds"),
        (Policy(limits=LimitsTable(local_epochs=2)), "limits.local_epochs"),
        (Policy(limits=LimitsTable(personal_epochs=4)), "limits.personal_epochs"),
        (Policy(data=DataTable(min_examples=101)), "data.min_examples"),
        (Policy(egress=EgressTable(smallest_count=101)), "data.min_examples"),
        (Policy(egress=EgressTable(metrics=("loss",))), "egress.metrics"),
        (Policy(privacy=PrivacyTable(secure_aggregation="required")), "privacy.secure_aggregation"),
        (Policy(privacy=PrivacyTable(metrics="in_aggregate")), "privacy.metrics"),
        (Policy(privacy=PrivacyTable(noise="required")), "privacy.noise"),
        (Policy(privacy=PrivacyTable(max_epsilon=1000)), "privacy.max_epsilon"),
    ],
)
def test_a_rule_that_a_plan_does_not_keep_to_is_named(policy: Policy, rule: str) -> None:
    assert names(policy) == [rule]


def test_metrics_in_aggregate_only_are_met_by_a_plan_that_asks_for_sums_or_for_none() -> None:
    policy = Policy(privacy=PrivacyTable(metrics="in_aggregate"))
    masked = PrivacyPlan(secure_aggregation="on")
    summed = PrivacyPlan(secure_aggregation="on", metrics="in_aggregate")

    for changes, met in (
        ({"privacy": masked}, False),
        ({"privacy": summed}, True),
        ({"metrics": ()}, True),
    ):
        plan = PLAN.model_copy(update=changes)
        assert names(policy, replace(ASKED, plan=plan)) == ([] if met else ["privacy.metrics"])


@pytest.mark.parametrize(
    "policy",
    [
        Policy(allow=AllowTable(coordinators=("Another study", "Density study"))),
        Policy(allow=AllowTable(plans=("lesion", "density-*"))),
        Policy(allow=AllowTable(runs=("run-7",))),
        Policy(allow=AllowTable(bundles=("a" * 64, BUNDLE))),
        Policy(limits=LimitsTable(rounds=20, local_epochs=3, personal_epochs=5)),
        Policy(data=DataTable(min_examples=100)),
    ],
)
def test_a_plan_that_just_keeps_to_a_rule_keeps_to_it(policy: Policy) -> None:
    assert names(policy) == []


def test_another_bundle_than_those_on_the_sites_list_is_named() -> None:
    assert names(Policy(), site=replace(SITE, approved_bundles=frozenset())) == ["allow.bundles"]


def test_no_ruling_tells_how_many_examples_the_site_has() -> None:
    (ruling,) = broken(Policy(data=DataTable(min_examples=50)), ASKED, replace(SITE, num_examples=37))

    assert "37" not in ruling.words
    assert "50" in ruling.words


NIGHT = {"begin": "20:00", "end": "06:00", "time_zone": "UTC"}
DAY = {"begin": "08:00", "end": "16:30", "time_zone": "UTC"}


@pytest.mark.parametrize(
    ("hours", "now", "opening"),
    [
        (NIGHT, "2026-03-01 19:59", "2026-03-01 20:00"),
        (NIGHT, "2026-03-01 20:00", None),
        (NIGHT, "2026-03-01 23:59", None),
        (NIGHT, "2026-03-02 00:00", None),
        (NIGHT, "2026-03-02 05:59", None),
        (NIGHT, "2026-03-02 06:00", "2026-03-02 20:00"),
        (DAY, "2026-03-01 07:59", "2026-03-01 08:00"),
        (DAY, "2026-03-01 08:00", None),
        (DAY, "2026-03-01 16:29", None),
        (DAY, "2026-03-01 16:30", "2026-03-02 08:00"),
        ({"begin": "09:00", "end": "09:00"}, "2026-03-01 03:00", None),
        ({}, "2026-03-01 03:00", None),
        # Helsinki is two hours ahead of UTC in winter, three in summer.
        ({**NIGHT, "time_zone": "Europe/Helsinki"}, "2026-01-15 17:59", "2026-01-15 18:00"),
        ({**NIGHT, "time_zone": "Europe/Helsinki"}, "2026-07-15 17:00", None),
        # The clock goes forward in the night before 29 March 2026.
        ({**DAY, "time_zone": "Europe/Helsinki"}, "2026-03-28 22:00", "2026-03-29 05:00"),
    ],
)
def test_training_goes_on_within_the_hours_and_is_next_possible_at_their_beginning(
    hours: dict[str, Any], now: str, opening: str | None
) -> None:
    found = next_opening(HoursTable(**hours), datetime.fromisoformat(now).replace(tzinfo=UTC))

    assert found == (datetime.fromisoformat(opening).replace(tzinfo=UTC) if opening else None)


@pytest.mark.parametrize(
    ("smallest", "bucket", "count", "told"),
    [(5, 1, 4, None), (5, 1, 5, 5), (5, 1, 0, None), (10, 10, 19, 10), (10, 10, 9, None), (1, 1, 1, 1)],
)
def test_a_count_leaves_rounded_down_or_not_at_all(
    smallest: int, bucket: int, count: int, told: int | None
) -> None:
    assert reported_count(EgressTable(smallest_count=smallest, round_counts_to=bucket), count) == told
