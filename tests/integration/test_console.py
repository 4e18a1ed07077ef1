"""The console as a process: real TLS, real passwords, a page that follows, a real browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from server.lifecycle import RoundState, RunState
from tests.integration.browsing import a_browser, opened, sign_in
from tests.integration.running_console import PASSWORD, RunningConsole, events, running_console
from tests.unit.server.console.recorded_runs import plan_of, record_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CONTRASTS = """() => {
  const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = numbers(getComputedStyle(each).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(numbers(style.color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.textContent.trim().slice(0, 40)}`);
  }
  return poor;
}"""
"""Texts whose contrast with what lies behind them is below 4.5 (WCAG 2.2, success criterion 1.4.3)."""


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    with running_console(tmp_path_factory.mktemp("console") / "home") as running:
        yield running


def test_a_person_signs_in_over_tls_1_3_under_the_federations_root(console: RunningConsole) -> None:
    with console.client() as client, client.stream("GET", "/") as answer:
        connection = answer.extensions["network_stream"].get_extra_info("ssl_object")
        assert connection.version() == "TLSv1.3"

    assert answer.status_code == 200
    assert "server" not in answer.headers


def test_an_open_page_follows_what_others_do_until_its_sign_in_ends(console: RunningConsole) -> None:
    console.enrol("aarhus")
    with console.client() as client, client.stream("GET", "/live") as answer:
        coming = events(answer)
        name, first = next(coming)
        assert name == "message"
        assert first["in-touch"] == "0 of 1 hospitals in touch"

        console.coordinator.memberships.revoke("aarhus", reason=None, now=time.time(), actor="test")
        _, second = next(coming)
        assert second["in-touch"] == "0 of 0 hospitals in touch"
        assert second["shape"] != first["shape"]

        console.coordinator.sign_ins.end_all()
        assert [name for name, _ in coming] == ["ended"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with a_browser() as browser:
        yield browser


def check_looks(page: Page, width: int) -> None:
    assert page.evaluate(CONTRASTS) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), pytest.param("dark", 390, marks=pytest.mark.slow)]
)
def test_in_a_browser_a_hospital_is_invited_by_keyboard_and_its_card_comes_by_itself(
    console: RunningConsole, chromium: Browser, scheme: str, width: int
) -> None:
    name = f"bergen-{scheme}"
    page, complaints = opened(chromium, console, scheme=scheme, width=width)
    check_looks(page, width)
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Federation").wait_for()
    check_looks(page, width)

    page.get_by_label("Name").focus()
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name=f"{name} is invited").wait_for()
    check_looks(page, width)
    assert name in console.coordinator.federation.invited(now=time.time())
    page.get_by_role("link", name="To the federation").click()
    page.get_by_text("Withdraw").first.wait_for()

    console.enrol(f"cork-{scheme}")
    page.get_by_role("heading", name=f"cork-{scheme}").wait_for()
    check_looks(page, width)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    assert complaints == []


PAINTED = """() => [...document.querySelectorAll("canvas")].map((canvas) =>
  canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0)
)"""
"""Of every canvas, whether anything is drawn on it."""


@pytest.mark.parametrize(
    ("scheme", "width"), [("dark", 1280), pytest.param("light", 390, marks=pytest.mark.slow)]
)
def test_in_a_browser_a_run_is_watched_live_stopped_and_resumed_as_far_as_may_be(
    console: RunningConsole, chromium: Browser, scheme: str, width: int
) -> None:
    run_id = f"run-{scheme}"
    runs = console.coordinator.runs
    console.enrol(f"oslo-{scheme}")
    record_run(console.coordinator, plan_of(5), done=3, run_id=run_id)
    page, complaints = opened(chromium, console, scheme=scheme, width=width)
    sign_in(page)
    page.get_by_role("link", name="Runs").click()
    check_looks(page, width)
    page.locator(f'a[href="/runs/{run_id}"]').click()
    page.get_by_text("3 of 5 rounds").wait_for()
    check_looks(page, width)
    assert page.evaluate(PAINTED) == [True] * 4

    # A round is over: the page says so by itself, and asks for nothing.
    runs.close_round(runs.rounds(run_id)[-1], None, state=RoundState.VOID, at=time.time())
    page.get_by_title("Round 4: void").wait_for()

    page.get_by_text("Stop the run").first.click()
    page.get_by_role("button", name="Stop the run").click()
    page.get_by_role("button", name="Go on after round 3").wait_for()
    check_looks(page, width)
    assert runs.get(run_id).state is RunState.STOPPED

    # Nothing runs here that could take the run up again, and the person is told.
    page.get_by_role("button", name="Go on after round 3").click()
    page.get_by_role("heading", name="The coordinator is not running.").wait_for()
    check_looks(page, width)
    assert runs.get(run_id).state is RunState.STOPPED
    assert [each for each in complaints if "503" not in each] == []
