"""How long a browser stands still on pages of 200 hospitals and 500 rounds: coming, following, scrolling."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.integration.browsing import a_browser, opened, sign_in
from tests.integration.running_console import RunningConsole, running_console
from tests.unit.server.console.recorded_runs import answer_open_round, enrol_many, plan_of, record_long_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

log = logging.getLogger(__name__)

NUM_SITES, NUM_ROUNDS = 200, 500
MOST_BLOCKED_MS = 200.0
"""Of one piece of work, in which nobody can type or scroll; half a second is what persons call stuck."""
MOST_LATE_MS = 100.0
"""Between two pictures while it scrolls, for 95 of 100 of them."""
MOST_ELEMENTS = 20_000

WATCH = """
window.blocked = [];
const note = (list) => { for (const each of list.getEntries()) window.blocked.push(each.duration); };
new PerformanceObserver(note).observe({ type: "longtask", buffered: true });
"""
SCROLL = """() => new Promise((done) => {
  const late = []; let before = performance.now(), down = true;
  const step = (now) => {
    late.push(now - before); before = now;
    if (scrollY + innerHeight >= document.documentElement.scrollHeight - 2) down = false;
    scrollBy(0, down ? 60 : -60);
    if (late.length < 240) requestAnimationFrame(step);
    else done(late.slice(1).sort((a, b) => a - b));
  };
  requestAnimationFrame(step);
})"""


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    with running_console(tmp_path_factory.mktemp("smooth") / "home") as running:
        running.enrol("aarhus")
        enrol_many(running.coordinator, NUM_SITES)
        record_long_run(running.coordinator, plan_of(NUM_ROUNDS))
        yield running


@pytest.fixture(scope="module")
def page(console: RunningConsole) -> Iterator[Page]:
    with a_browser() as browser:
        yield _signed_in(browser, console)


def _signed_in(browser: Browser, console: RunningConsole) -> Page:
    page, _ = opened(browser, console, scheme="light", width=1280)
    page.context.add_init_script(WATCH)
    sign_in(page)
    return page


def longest_ms(page: Page) -> float:
    """The longest that the page stood still since this was asked last."""
    longest: float = page.evaluate("Math.max(0, ...window.blocked.splice(0))")
    return longest


@pytest.mark.parametrize("path", ["/", "/runs", "/runs/run-1", "/runs/run-1/rounds/499"])
def test_a_page_of_two_hundred_hospitals_lets_its_reader_go_on(
    console: RunningConsole, page: Page, path: str
) -> None:
    page.goto(console.address + path)
    page.wait_for_timeout(1_000)
    loading = longest_ms(page)
    late = page.evaluate(SCROLL)
    elements = page.evaluate("document.getElementsByTagName('*').length")
    log.info("%s: stood still for %.0f ms while it came, 95 of 100 pictures within %.0f ms, %d elements",
             path, loading, late[int(0.95 * len(late))], elements)  # fmt: skip

    assert loading < MOST_BLOCKED_MS
    assert late[int(0.95 * len(late))] < MOST_LATE_MS
    assert elements < MOST_ELEMENTS


def test_a_new_round_comes_in_without_the_page_standing_still(console: RunningConsole, page: Page) -> None:
    page.goto(console.address + "/runs/run-1")
    page.wait_for_timeout(2_000)
    longest_ms(page)

    answer_open_round(console.coordinator, plan_of(NUM_ROUNDS))
    page.locator("#progress").get_by_text("500 of 500").wait_for()
    page.wait_for_timeout(3_000)
    coming = longest_ms(page)
    log.info("a round came in: stood still for %.0f ms", coming)

    assert coming < MOST_BLOCKED_MS
