"""The register of alerts, and what is read of runs to judge them, over both stores."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from server.lifecycle import RunState
from server.members import Contact
from server.monitoring.gathering import Gatherer
from server.monitoring.rules import Finding, Judgement, judge
from server.monitoring.settings import AlertSettings, Rule
from server.store.alerts import Alert, Alerts, NoticeKind
from server.store.opening import open_coordinator_store
from shared.errors import NotFoundError, QuorumError
from tests.unit.server.console.console import Console
from tests.unit.server.console.recorded_runs import plan_of, record_run
from tests.unit.server.simulated_federation import RUN_ID, SimulatedFederation, refuse
from tests.unit.server.test_rogue_sites import other_occasion

NOTHING = Judgement(found=(), untold=frozenset())


def finding(key: str = "disk-low", *, is_lasting: bool = True) -> Finding:
    return Finding(
        rule=Rule.DISK_LOW, key=key, subject="coordinator", text="It is low.", is_lasting=is_lasting
    )


def found(*findings: Finding) -> Judgement:
    return Judgement(found=findings, untold=frozenset())


@pytest.fixture
def alerts(tmp_path: Path) -> Alerts:
    return Alerts(open_coordinator_store(tmp_path))


def follow(alerts: Alerts, judgement: Judgement, at: float) -> None:
    alerts.follow(judgement, channels=["webhook"], at=at)


def test_what_lasts_is_raised_once_ends_and_may_come_again(alerts: Alerts) -> None:
    for at in (1.0, 2.0):
        follow(alerts, found(finding()), at)
    follow(alerts, NOTHING, 3.0)
    follow(alerts, found(finding()), 4.0)

    assert [(each.raised_at, each.ended_at) for each in alerts.all()] == [(4.0, None), (1.0, 3.0)]


def test_what_cannot_be_said_leaves_an_alert_standing_and_raises_none(alerts: Alerts) -> None:
    unknown = Judgement(found=(), untold=frozenset({"disk-low", "another"}))
    follow(alerts, found(finding()), 1.0)
    follow(alerts, unknown, 2.0)

    (standing,) = alerts.all()
    assert standing.ended_at is None


def test_what_happened_is_told_once_however_often_it_is_found(alerts: Alerts) -> None:
    for at in (1.0, 2.0):
        follow(alerts, found(finding("round", is_lasting=False)), at)
        follow(alerts, NOTHING, at + 0.5)

    (told,) = alerts.all()
    assert told.raised_at == told.ended_at == 1.0
    assert [each.kind for each in alerts.due("webhook", at=9.0)] == [NoticeKind.RAISED]


def test_an_alert_is_open_until_it_is_over_and_somebody_has_seen_it(alerts: Alerts) -> None:
    follow(alerts, found(finding()), 1.0)
    number = alerts.all()[0].alert_id
    first = alerts.acknowledge(number, actor="person:ada", at=2.0)
    again = alerts.acknowledge(number, actor="person:otto", at=3.0)

    assert first.acknowledged_by == again.acknowledged_by == "person:ada"
    assert [each.alert_id for each in alerts.open()] == [number]
    follow(alerts, NOTHING, 4.0)
    assert alerts.open() == []
    with pytest.raises(NotFoundError):
        alerts.acknowledge(number + 1, actor="person:ada", at=5.0)


def test_an_end_that_nobody_was_told_of_yet_is_told_after_the_beginning(alerts: Alerts) -> None:
    follow(alerts, found(finding()), 1.0)
    follow(alerts, NOTHING, 2.0)
    due = alerts.due("webhook", at=2.0)

    assert [each.kind for each in due] == [NoticeKind.RAISED, NoticeKind.ENDED]
    assert len({each.notice_id for each in due}) == 2
    assert alerts.due("mail", at=2.0) == []


def test_a_round_that_misses_a_site_is_not_held_against_those_that_miss_none(tmp_path: Path) -> None:
    console = Console(tmp_path / "home")
    for name in ("aarhus", "bergen", "cork"):
        console.enrol(name)
    record_run(console.coordinator, plan_of(5), done=4, lost=frozenset({(2, "cork"), (4, "aarhus")}))
    gatherer = Gatherer(
        console.home, console.coordinator, console.superlink, measure="dice_dense", began_at=time.time()
    )

    (run,) = gatherer.gather(now=time.time()).runs

    assert [number for number, _ in run.values] == [1, 3]


class SuperLink:
    """Has every site in touch."""

    def __init__(self, federation: SimulatedFederation) -> None:
        self._federation = federation

    def contacts(self) -> dict[int, Contact]:
        contact = Contact(is_online=True, silent_since=None)
        return {site.node_id: contact for site in self._federation.sites.values()}


@pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)
class TestWhatIsReadOfRuns:
    def judged(self, federation: SimulatedFederation, measure: str = "loss") -> list[Alert]:
        now, coordinator = time.time(), federation.coordinator
        gatherer = Gatherer(
            federation.home, coordinator, SuperLink(federation), measure=measure, began_at=now
        )
        settings = AlertSettings(off=(Rule.DISK_LOW,))
        judgement = judge(gatherer.gather(now=now), settings, now=now)
        coordinator.alerts.follow(judgement, channels=["mail"], at=now)
        return coordinator.alerts.all()

    def test_a_run_that_goes_well_raises_nothing(self, federation: SimulatedFederation) -> None:
        federation.run()

        assert federation.state is RunState.FINISHED
        assert self.judged(federation) == []

    def test_a_round_without_a_quorum_and_its_run_are_told_of(self, federation: SimulatedFederation) -> None:
        for name in ("aarhus", "bergen"):
            federation[name].does(*[refuse] * 9)
        with pytest.raises(QuorumError):
            federation.run()

        assert federation.state is RunState.FAILED
        told = self.judged(federation)
        assert {each.rule for each in told} == {Rule.ROUND_FAILED}
        assert told[-1].text == f"The run '{federation.plan.name}' failed."
        assert all(" of 3 sites answered as they must." in each.text for each in told[:-1])
        assert len(told) == 4  # three attempts

    def test_an_update_that_was_not_let_in_is_told_of_with_its_site(
        self, federation: SimulatedFederation
    ) -> None:
        federation["bergen"].does(other_occasion(round_number=9))
        federation.run()

        told = self.judged(federation)
        assert told
        assert {(each.rule, each.subject) for each in told} == {(Rule.UPDATE_REJECTED, "bergen")}

    def test_a_run_that_a_person_stopped_has_not_failed(self, federation: SimulatedFederation) -> None:
        federation.coordinator.runs.stop(RUN_ID, actor="person:ada", at=time.time())

        assert self.judged(federation) == []

    def test_values_of_a_measure_are_those_that_the_sites_told_together(
        self, federation: SimulatedFederation
    ) -> None:
        federation.run()
        told = federation.coordinator.troubles.evaluations(RUN_ID, [1, 2])

        assert {number: [each.num_examples for each in of] for number, of in told.items()} == {
            1: [8, 8, 8],
            2: [8, 8, 8],
        }
        assert federation.coordinator.troubles.aggregated(RUN_ID, most=1) == [2]
