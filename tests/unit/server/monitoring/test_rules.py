"""The rules of alerts, over facts of one moment each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.monitoring.facts import (
    Certificate,
    Facts,
    FailedAttempt,
    FailedRun,
    RejectedAnswer,
    RunFacts,
    SiteFacts,
)
from server.monitoring.rules import Judgement, judge
from server.monitoring.settings import AlertSettings, Rule

NOW = 1_000_000_000.0
MINUTE_S, DAY_S, GIB = 60.0, 86_400.0, 1 << 30
SETTINGS = AlertSettings()
CALM = Facts(
    sites=tuple(
        SiteFacts(site_id=f"site-{name}", name=name, silent_since=None, is_paused=False)
        for name in ("north", "lake", "coast")
    ),
    is_contact_known=True,
    certificates=(),
    runs=(),
    failed_runs=(),
    failed_attempts=(),
    rejected=(),
    free_bytes=100 * GIB,
)


def site(name: str, *, silent_minutes: float | None = None, is_paused: bool = False) -> SiteFacts:
    silent_since = None if silent_minutes is None else NOW - silent_minutes * MINUTE_S
    return SiteFacts(site_id=f"site-{name}", name=name, silent_since=silent_since, is_paused=is_paused)


def run(quorum: int = 2, *, values: tuple[float, ...] = ()) -> RunFacts:
    approved = frozenset({"site-north", "site-lake", "site-coast"})
    numbered = tuple(enumerate(values, start=1))
    return RunFacts(
        run_id="run-1",
        name="density",
        num_rounds=20,
        num_aggregated=len(values),
        quorum=quorum,
        approved=approved,
        values=numbered,
    )


def judged(settings: AlertSettings = SETTINGS, **facts: object) -> Judgement:
    return judge(replace(CALM, **facts), settings, now=NOW)


def texts(judgement: Judgement) -> list[str]:
    return [each.text for each in judgement.found]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    calm = judged(
        runs=[run(values=(0.5, 0.6))],
        certificates=[Certificate(whose="north", begins_at=NOW, ends_at=NOW + 30 * DAY_S)],
    )

    assert calm == Judgement(found=(), untold=frozenset())


def test_a_site_is_told_of_once_it_was_silent_for_as_long_as_is_set() -> None:
    assert not judged(sites=[site("north", silent_minutes=14.9)]).found
    (found,) = judged(sites=[site("north", silent_minutes=15)]).found

    assert (found.rule, found.subject, found.is_lasting) == (Rule.SITE_OFFLINE, "north", True)
    assert found.text == "north has been out of touch for more than 15 minutes."
    assert not judged(AlertSettings(site_offline_minutes=20), sites=[site("north", silent_minutes=15)]).found


def test_of_a_site_that_has_just_fallen_silent_or_of_whom_nobody_tells_nothing_is_held_to_be_over() -> None:
    key = "site-offline:site-north"

    assert judged(sites=[site("north", silent_minutes=1)]).untold == {key}
    assert judged(sites=[site("north", silent_minutes=99)], is_contact_known=False).untold == {key}
    assert judged(sites=[site("north")]).untold == frozenset()


def test_a_site_that_has_paused_may_be_silent() -> None:
    assert not judged(sites=[site("north", silent_minutes=99, is_paused=True)]).found


@pytest.mark.parametrize(
    ("silent", "quorum", "is_told"),
    [
        ([], 2, False),  # three of three
        (["lake"], 2, True),  # two are left, and two are needed
        (["lake"], 1, False),  # one may still be lost
        (["lake", "coast"], 2, True),
        ([], 3, False),  # all are there: nothing is wrong
        (["lake"], 3, True),
    ],
)
def test_a_quorum_is_at_risk_when_a_site_is_missing_and_none_may_be_lost_any_more(
    silent: list[str], quorum: int, is_told: bool
) -> None:
    sites = [site(name, silent_minutes=5 if name in silent else None) for name in ("north", "lake", "coast")]
    found = judged(sites=sites, runs=[run(quorum)]).found

    assert [each.rule for each in found] == [Rule.QUORUM_AT_RISK] * is_told


def test_a_quorum_is_reckoned_without_sites_that_pause_or_left_but_with_those_just_silent() -> None:
    paused = [site("north"), site("lake", is_paused=True), site("coast")]
    gone = [site("north"), site("coast")]
    just_silent = [site("north"), site("lake", silent_minutes=1.9), site("coast")]

    for sites in (paused, gone):
        assert texts(judged(sites=sites, runs=[run()])) == [
            "Of 3 sites that approve of 'density', 2 can be reckoned with; a round needs 2."
        ]
    assert not judged(sites=just_silent, runs=[run()]).found


def test_a_run_that_waits_for_approvals_has_no_quorum_at_risk() -> None:
    waiting = replace(run(2), approved=frozenset({"site-north"}))

    assert not judged(sites=[site("north", silent_minutes=5)], runs=[waiting]).found


def test_a_measure_is_told_of_that_is_worse_than_its_best_by_as_much_as_is_set() -> None:
    (found,) = judged(runs=[run(values=(0.5, 0.80, 0.7))]).found

    assert (
        found.text == "dense Dice of 'density' over all sites is 0.700 at round 3; it was 0.800 at round 2."
    )
    assert not judged(runs=[run(values=(0.5, 0.80, 0.76))]).found
    assert not judged(runs=[run(values=(0.8, 0.70, 0.8))]).found  # it has recovered


def test_of_a_loss_the_higher_value_is_the_worse_one() -> None:
    by_loss = AlertSettings(metric="loss", metric_drop=0.25)

    assert judged(by_loss, runs=[run(values=(0.5, 0.75))]).found
    assert not judged(by_loss, runs=[run(values=(0.75, 0.5))]).found


def test_rounds_runs_and_updates_that_failed_are_told_of_with_what_one_looks_them_up_by() -> None:
    attempt = FailedAttempt(
        run_id="run-1",
        run_name="density",
        phase="train",
        number=3,
        attempt=2,
        num_asked=3,
        num_admitted=1,
        closed_at=NOW - 5,
    )
    failed = FailedRun(run_id="run-1", name="density", failed_at=NOW - 4)
    rejected = RejectedAnswer(
        run_id="run-1",
        run_name="density",
        phase="train",
        number=3,
        attempt=2,
        site_id="site-north",
        site_name="north",
        rejected_at=NOW - 6,
    )
    judgement = judged(failed_attempts=[attempt], failed_runs=[failed], rejected=[rejected])

    assert texts(judgement) == [
        "The run 'density' failed.",
        "Attempt 2 at round 3 (train) of 'density' came to nothing: 1 of 3 sites answered as they must.",
        "What north sent for round 3 (train) of 'density' was not let in; `run show` says why.",
    ]
    assert not any(each.is_lasting for each in judgement.found)
    assert len({each.key for each in judgement.found}) == 3
    old = replace(attempt, closed_at=NOW - 2 * DAY_S)
    assert not judged(failed_attempts=[old]).found


@pytest.mark.parametrize(
    ("life_days", "left_days", "text"),
    [
        (30, 10, None),  # renews about now
        (30, 4.9, "The certificate of north ends in 5 days, and was not renewed."),
        (3, 0.4, "The certificate of north ends in 10 hours, and was not renewed."),
        (3, 1, None),
        (3650, 31, None),
        (3650, 29, "The certificate of north ends in 29 days, and was not renewed."),
        (30, -1, "The certificate of north has ended, and was not renewed."),
    ],
)
def test_a_certificate_is_told_of_when_it_should_have_been_renewed(
    life_days: float, left_days: float, text: str | None
) -> None:
    ends_at = NOW + left_days * DAY_S
    one = Certificate(whose="north", begins_at=ends_at - life_days * DAY_S, ends_at=ends_at)

    assert texts(judged(certificates=[one])) == ([] if text is None else [text])


def test_a_disk_is_low_below_its_bound_and_well_again_only_with_room_to_spare() -> None:
    assert texts(judged(free_bytes=GIB - 1)) == [
        "The disk of the coordinator's home has less than 1 GiB left."
    ]
    assert judged(free_bytes=GIB) == Judgement(found=(), untold=frozenset({"disk-low"}))
    assert judged(free_bytes=None).untold == {"disk-low"}
    assert judged(free_bytes=2 * GIB) == Judgement(found=(), untold=frozenset())


def test_a_rule_that_is_switched_off_finds_nothing() -> None:
    assert not judged(AlertSettings(off=(Rule.DISK_LOW,)), free_bytes=1).found
