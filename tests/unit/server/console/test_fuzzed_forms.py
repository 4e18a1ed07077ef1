"""Every form and every query of the console with whatever can be typed, or sent without a browser.

The addresses are those of the application itself, and the names of fields those of its templates, so that a
new form is tried as well. An exception that nobody has foreseen fails the test by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

import server.console
from server.console.desk import QUARTER_S
from server.console.plan_form import SETTINGS
from tests.unit.server.console.console import ORIGIN, Browser, Console
from tests.unit.server.console.recorded_runs import finish_run, plan_of, record_run

TEMPLATES = Path(server.console.__file__).parent / "templates"
FORESEEN = {200, 303, 400, 401, 403, 404, 409, 413, 422, 429, 503}
FORM = "application/x-www-form-urlencoded"
MARK = "<script>alert(7)</script>"

NASTY = [
    *("", " ", "0", "-1", "1e309", "nan", "inf", "1_000", "٣", "9" * 400, "0x10", "true", "on", "None"),
    *(
        MARK,
        "{{ 7 * 7 }}",
        "' OR 1=1 --",
        "%",
        "_",
        "\x00",
        "\r\nset-cookie: a=b",
        "../../etc/passwd",
        "\u202e",
    ),
    *(
        "2026-13-45",
        "0000-00-00",
        "//evil.example",
        "a" * 300,
        "ﬁ",
        "person:ada",
        "run-1",
        "density-2",
        "cork",
    ),
]
TEXTS = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
PLACES = st.one_of(
    st.sampled_from(["run-1", "run-2", "cork", "density-2", "1", "0", "99", "x" * 200, "..", "%00", "é"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=20),
)


def fields() -> list[str]:
    """The names of all fields of all templates, and those of the form of a plan."""
    found = {
        name for file in TEMPLATES.glob("*.j2") for name in re.findall(r'name="([a-z_.]+)"', file.read_text())
    }
    return sorted(found | {setting.name for setting in SETTINGS})


FORMS = st.dictionaries(st.one_of(st.sampled_from(fields()), TEXTS), TEXTS, max_size=8)
AS_IT_COMES = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def filled(console: Console) -> Console:
    for name in ("aarhus", "bergen", "cork"):
        console.enrol(name)
    record_run(console.coordinator, plan_of(3), done=2)
    finish_run(console.coordinator, plan_of(3), run_id="run-2")
    return console


def addresses(console: Console, method: str) -> list[str]:
    """Of every route that answers at once."""
    app = console.app._app
    assert isinstance(app, Starlette)
    found = {route.path for route in app.routes if method in route.methods}
    return sorted(each for each in found if not each.endswith("/live") and not each.startswith("/static"))


def filled_in(data: st.DataObject, address: str) -> str:
    return re.sub(r"\{[^}]+\}", lambda _part: quote(data.draw(PLACES), safe=""), address)


def newcomer(console: Console, name: str) -> Browser:
    """Somebody who has just signed in, a quarter of an hour later: forms of the sign-in are tried, too."""
    console.clock.now += QUARTER_S + 1
    return console.browser_of(name)


def send(browser: Browser, address: str, body: bytes) -> httpx.Response:
    return browser.ask("POST", address, content=body, headers={"origin": ORIGIN, "content-type": FORM})


def check(answer: httpx.Response) -> None:
    assert answer.status_code in FORESEEN
    assert MARK not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


@AS_IT_COMES
@given(data=st.data(), form=FORMS)
def test_whatever_an_administrator_fills_in_is_taken_or_told_what_is_wrong(
    filled: Console, data: st.DataObject, form: Mapping[str, str]
) -> None:
    browser = newcomer(filled, "ada")
    address = data.draw(st.sampled_from(addresses(filled, "POST")))

    check(send(browser, filled_in(data, address), urlencode(form).encode()))


@AS_IT_COMES
@given(data=st.data(), form=FORMS)
def test_whatever_a_viewer_sends_changes_nothing_but_their_own_sign_in(
    filled: Console, data: st.DataObject, form: Mapping[str, str]
) -> None:
    browser = newcomer(filled, "vera")
    before = deeds(filled)
    address = data.draw(st.sampled_from(addresses(filled, "POST")))

    check(send(browser, filled_in(data, address), urlencode(form).encode()))

    assert deeds(filled) == before


def deeds(console: Console) -> list[str]:
    """Lines of the audit log about anything but coming, going and what is one's own."""
    return [line.name for line in console.coordinator.audit.lines() if not line.name.startswith("person.")]


@AS_IT_COMES
@given(data=st.data(), body=st.binary(max_size=200))
def test_bytes_that_are_no_form_at_all_are_refused_or_hold_nothing(
    filled: Console, data: st.DataObject, body: bytes
) -> None:
    browser = newcomer(filled, "ada")
    address = data.draw(st.sampled_from(addresses(filled, "POST")))

    check(send(browser, filled_in(data, address), body))


@AS_IT_COMES
@given(data=st.data(), query=FORMS)
def test_whatever_is_asked_for_in_an_address_is_found_or_not(
    filled: Console, data: st.DataObject, query: Mapping[str, str]
) -> None:
    browser = newcomer(filled, "ada")
    address = data.draw(st.sampled_from(addresses(filled, "GET")))

    check(browser.get(f"{filled_in(data, address)}?{urlencode(query)}"))


def test_the_forms_that_are_tried_are_those_of_the_application(filled: Console) -> None:
    assert len(addresses(filled, "POST")) > 15
    assert {"/sites/invite", "/runs/new", "/models/{model_id}/revoke"} <= set(addresses(filled, "POST"))
