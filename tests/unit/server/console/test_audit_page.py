"""The page of the audit log: what it finds, to whom it shows it, and what it hands out."""

from __future__ import annotations

import html
import io
import time

import pytest

from server.console.audit import LINES_SHOWN
from shared.audit.events import SiteInvited
from shared.audit.export import read_json_lines
from shared.audit.verification import verify_log
from tests.unit.server.console.console import Browser, Console
from tests.unit.server.console.recorded_runs import plan_of, submit_run
from tests.unit.server.console.test_federation_page import text_of


@pytest.fixture
def vera(console: Console) -> Browser:
    for name in ("aarhus", "bergen"):
        console.enrol(name)
    submit_run(console.coordinator, plan_of(5))
    return console.browser_of("vera")


def found(browser: Browser, query: str) -> str:
    answer = browser.get(f"/audit?{query}")
    assert answer.status_code == 200, answer.text
    return text_of(html.unescape(answer.text))


def test_the_newest_line_comes_first_with_who_what_and_to_whom(console: Console, vera: Browser) -> None:
    newest = list(console.coordinator.audit.lines())[-1]

    page = found(vera, "")

    first = page[page.index("Details") :]
    assert newest.name in first[:200]
    assert newest.actor in first[:200]


@pytest.mark.parametrize(
    ("query", "inside", "outside"),
    [
        ("event=run.submitted", "run.submitted", "site.enrolled"),
        ("event=run", "run.submitted", "site.enrolled"),
        ("actor=person:otto", "run.submitted", "site.enrolled"),
        ("subject=run-1", "run.submitted", "site.enrolled"),
        ("words=bergen", "bergen", "aarhus"),
    ],
)
def test_lines_are_searched_by_each_field(vera: Browser, query: str, inside: str, outside: str) -> None:
    page = found(vera, query)

    assert inside in page
    assert outside not in page


@pytest.mark.parametrize(
    "query", ["event=ru", "words=%25", "words=run_1", "until=2020-01-01", "actor=nobody"]
)
def test_what_fits_no_line_finds_none_and_wildcards_are_text(vera: Browser, query: str) -> None:
    page = found(vera, f"{query}&subject=run-1")

    assert "No line fits" in page


def test_days_are_those_of_the_coordinators_clock_and_the_last_is_included(vera: Browser) -> None:
    today = time.strftime("%Y-%m-%d")

    assert "run.submitted" in found(vera, f"since={today}&until={today}")
    for wrong in ("since=yesterday", "until=2026-13-01", "since=0001-01-01"):
        assert vera.get(f"/audit?{wrong}").status_code in {200, 409}


def test_a_long_log_is_turned_page_by_page(console: Console, vera: Browser) -> None:
    for number in range(LINES_SHOWN):
        console.coordinator.audit.append(
            SiteInvited(subject=f"later-{number}", site_name="later"), actor="test", at=time.time()
        )

    first = vera.get("/audit").text
    link = html.unescape(first.split('href="/audit?before=')[1].split('"')[0])
    second = found(vera, f"before={link}")

    assert "run.submitted" not in text_of(first)
    assert "run.submitted" in second
    assert "Newest" in second


def test_an_operator_exports_the_whole_log_and_it_verifies(console: Console, vera: Browser) -> None:
    answer = console.browser_of("otto").get("/audit/export")

    assert answer.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
    lines = list(read_json_lines(io.StringIO(answer.text)))
    verify_log(iter(lines), [], of="coordinator").require_holding()
    assert [line.name for line in lines].count("run.submitted") == 1


def test_an_export_of_what_was_found_holds_that_alone(console: Console, vera: Browser) -> None:
    text = console.browser_of("otto").get("/audit/export?event=run&form=syslog").text

    (line,) = text.splitlines()
    assert "run.submitted" in line


def test_role_escalation_a_viewer_exports_nothing(vera: Browser) -> None:
    assert vera.get("/audit/export").status_code == 403
    assert "/audit/export" not in vera.get("/audit").text
