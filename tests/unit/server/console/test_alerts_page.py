"""The page of the alerts: what it shows to whom, and that acknowledging is a person's deed."""

from __future__ import annotations

import time

import pytest

from server.monitoring.rules import Finding, Judgement
from server.monitoring.settings import Rule
from tests.unit.server.console.console import Console
from tests.unit.server.console.test_federation_page import text_of

TEXT = "north <has> been out of touch."
SILENT = Finding(rule=Rule.SITE_OFFLINE, key="site-offline:1", subject="north", text=TEXT, is_lasting=True)
NOTHING = Judgement(found=(), untold=frozenset())


@pytest.fixture
def number(console: Console) -> int:
    """Of an alert that lasts."""
    judgement = Judgement(found=(SILENT,), untold=frozenset())
    (raised,) = console.coordinator.alerts.follow(judgement, channels=(), at=time.time())
    return raised.alert_id


def test_without_an_alert_the_page_says_how_one_comes_about(console: Console) -> None:
    page = text_of(console.browser_of("vera").get("/alerts").text)

    assert "Nothing is open" in page
    assert "mammofed-coordinator alerts test" in page


def test_an_alert_is_shown_as_text_and_acknowledged_under_the_persons_name(
    console: Console, number: int
) -> None:
    browser = console.browser_of("otto")
    assert "north &lt;has&gt; been out of touch." in browser.get("/alerts").text

    assert browser.post(f"/alerts/{number}/acknowledge").status_code == 303
    assert "lasts otto" in text_of(browser.get("/alerts").text)
    console.coordinator.alerts.follow(NOTHING, channels=(), at=time.time() + 1)
    page = text_of(browser.get("/alerts").text)
    assert "Nothing is open" in page
    assert "Over and seen" in page
    assert console.lines("alert.acknowledged") == [
        ("person:otto", f"alert-{number}", {"rule": "site-offline"})
    ]


def test_role_escalation_a_viewer_sees_alerts_and_acknowledges_none(console: Console, number: int) -> None:
    browser = console.browser_of("vera")

    assert "Acknowledge" not in browser.get("/alerts").text
    assert browser.post(f"/alerts/{number}/acknowledge").status_code == 403
    assert console.coordinator.alerts.all()[0].acknowledged_at is None


def test_an_alert_that_is_none_is_not_found(console: Console) -> None:
    assert console.browser_of("otto").post("/alerts/9/acknowledge").status_code == 404
