"""Pages of a run that lets metrics out in aggregate only: figures of all hospitals, and none of one."""

from __future__ import annotations

import html
import re
import time

import pytest

from server.console.app import make_app
from server.console.passwords import encode
from server.monitoring.gathering import Gatherer
from server.progress import picture_of, receipt_of
from server.summary import last_parts, summarize
from shared.evaluation.measures import IN_AGGREGATE
from shared.persons.roles import Role
from shared.records import Phase
from shared.terminal import Output
from tests.unit.server.console.console import PASSWORD, Browser, SimulatedSuperLink
from tests.unit.server.console.test_federation_page import text_of
from tests.unit.server.simulated_federation import RUN_ID, SITES, SimulatedFederation
from tests.unit.server.test_metrics_in_aggregate import plan_of, populate


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> SimulatedFederation:
    federation = populate(SimulatedFederation(tmp_path_factory.mktemp("home") / "home", plan_of(2)))
    federation.run()
    return federation


@pytest.fixture
def browser(finished: SimulatedFederation) -> Browser:
    coordinator = finished.coordinator
    if not coordinator.persons.all():
        coordinator.persons.add("ada", Role.ADMINISTRATOR, actor="test", at=time.time())
        encoded = encode(PASSWORD, name="ada")
        coordinator.passwords.set("ada", encoded, actor="person:ada", at=time.time())
    browser = Browser(make_app(finished.home, coordinator, control=SimulatedSuperLink(), clock=time.time))
    assert browser.sign_in("ada").status_code == 303
    return browser


def page_of(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.text
    return text_of(html.unescape(answer.text))


def test_the_page_of_a_run_shows_all_hospitals_and_says_why_none_alone(
    browser: Browser, finished: SimulatedFederation
) -> None:
    summary = summarize(finished.coordinator.runs.get(RUN_ID), finished.coordinator)

    page = page_of(browser, f"/runs/{RUN_ID}")

    for site in SITES:
        assert re.search(rf"{site} counted \d+ {IN_AGGREGATE}", page)
    assert "No hospital has a line of its own" in page
    dice = summary.rounds[1].value("dice_dense")
    assert dice is not None
    assert f"{dice:.3f}" in page
    assert re.search(rf"aarhus {IN_AGGREGATE} - .* all sites \d+ 0\.\d{{3}}", page)


def test_a_receipt_and_the_terminal_say_in_aggregate_only(
    browser: Browser, finished: SimulatedFederation, capsys: pytest.CaptureFixture[str]
) -> None:
    coordinator = finished.coordinator
    summary = summarize(coordinator.runs.get(RUN_ID), coordinator)

    page = page_of(browser, f"/runs/{RUN_ID}/rounds/2")
    output = Output(as_json=False)
    output.console.print(picture_of(summary, trouble=""))
    output.console.print(receipt_of(summary, 2, last_parts(coordinator, RUN_ID, Phase.TRAIN, 2)))

    assert page.count(IN_AGGREGATE) == len(SITES) + 1
    assert "aggregate" in capsys.readouterr().out


def test_the_pages_of_models_show_all_hospitals_alone(
    browser: Browser, finished: SimulatedFederation
) -> None:
    (model,) = finished.coordinator.models.all()

    matrix, page = page_of(browser, "/models"), page_of(browser, f"/models/{model.model_id}")

    assert re.search(rf"{model.model_id} 0\.\d{{3}} \[", matrix)
    assert re.search(r"In aggregate only: 0\.\d{3} \[.*\] over all hospitals", page)
    assert "no release waits for it: the plan lets metrics out in aggregate only" in page


def test_an_alert_on_a_measure_judges_the_figures_of_all_sites(
    finished: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = finished.coordinator
    run = coordinator.runs.get(RUN_ID)
    monkeypatch.setattr(type(coordinator.runs), "unfinished", lambda _runs: [run])
    gatherer = Gatherer(
        finished.home, coordinator, SimulatedSuperLink(), measure="dice_dense", began_at=time.time()
    )

    (facts,) = gatherer.gather(now=time.time()).runs

    expected = [
        (one.number, pytest.approx(one.value("dice_dense"))) for one in summarize(run, coordinator).rounds
    ]
    assert list(facts.values) == expected
    assert len(expected) == 2
