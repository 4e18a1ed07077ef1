"""The page of the federation: what it shows, and that it does what the commands do."""

from __future__ import annotations

import re
import time

import pytest

from server.console.federation import Cards
from server.lifecycle import SiteState
from server.members import Contact, enrolled_members
from shared.enrolment.token import InvitationToken
from tests.unit.server.console.console import Console


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def set_node(console: Console, name: str, node_id: int) -> None:
    site_id = next(site.site_id for site in console.coordinator.federation.sites() if site.name == name)
    console.coordinator.federation.set_node_id(site_id, node_id)


def test_an_empty_federation_says_what_to_do_next(console: Console) -> None:
    page = text_of(console.browser_of("ada").get("/").text)

    assert "No hospital has joined yet" in page
    assert "mammofed-site join TOKEN" in page
    assert "An administrator invites hospitals" in text_of(console.browser_of("vera").get("/").text)


def test_a_card_says_whether_a_site_is_in_touch_since_when_not_and_what_it_has_told(
    console: Console,
) -> None:
    for number, name in enumerate(("aarhus", "bergen", "cork", "oslo"), start=1):
        console.enrol(name)
        set_node(console, name, number)
    silent_since = time.time() - 7_200
    console.superlink.known = {
        1: Contact(is_online=True, silent_since=None),
        2: Contact(is_online=False, silent_since=silent_since),
        3: Contact(is_online=False, silent_since=None),
    }

    page = text_of(console.browser_of("vera").get("/").text)

    assert "1 of 4 hospitals in touch" in page
    assert "answers now" in page
    assert f"silent since {time.strftime('%Y-%m-%d %H:%M', time.localtime(silent_since))}" in page
    assert "not heard since the coordinator's start" in page
    assert "nothing is known of it" in page
    assert page.count("29 more days") == 4
    assert page.count("not told yet") == 4


def test_a_card_that_is_followed_is_rendered_again_when_what_it_shows_has_changed_and_not_before(
    console: Console,
) -> None:
    for number, name in enumerate(("aarhus", "bergen"), start=1):
        console.enrol(name)
        set_node(console, name, number)
    cards, now = Cards(), time.time()

    def changed(at: float) -> list[str]:
        members = enrolled_members(console.coordinator, console.superlink.known)
        names = {f"facts-{each.site_id}": each.name for each in members}
        return [names[part] for part in cards.changed(members, now=at)]

    assert changed(now) == ["aarhus", "bergen"]
    assert changed(now + 1) == []
    console.superlink.known = {2: Contact(is_online=False, silent_since=now)}
    assert changed(now + 2) == ["bergen"]
    assert changed(now + 2 + 86_400) == ["aarhus", "bergen"]  # their certificates have a day less


def test_what_a_viewer_may_not_do_is_not_offered(console: Console) -> None:
    console.enrol("bergen")
    console.enrol("cork", by_hand=True)

    forms = {
        name: re.findall(r'action="(/sites[^"]+)"', console.browser_of(name).get("/?revoke=bergen").text)
        for name in ("ada", "otto", "vera")
    }

    assert forms["otto"] == forms["vera"] == []
    assert set(forms["ada"]) == {
        "/sites/invite",
        "/sites/bergen/revoke",
        "/sites/cork/approve",
        "/sites/cork/reject",
    }


def test_an_invitation_is_shown_once_and_lets_the_hospital_in(console: Console) -> None:
    browser = console.browser_of("ada")

    answer = browser.post("/sites/invite", {"name": "bergen", "days": "7", "by_hand": "on"})

    token = InvitationToken.parse(re.findall(r"<textarea[^>]*>([^<]+)<", answer.text)[0])
    assert (token.site_name, token.port) == ("bergen", console.home.settings().enrolment_port)
    assert answer.headers["cache-control"] == "no-store"
    page = browser.get("/").text
    assert token.reveal() not in page
    assert "/sites/bergen/withdraw" in page
    (invited,) = console.lines("site.invited")
    assert invited[0] == "person:ada"


@pytest.mark.parametrize(
    ("form", "what"),
    [
        ({"name": "Not A Name", "days": "7"}, "cannot be a site's name"),
        ({"name": "", "days": "7"}, "cannot be a site's name"),
        ({"name": "oslo", "days": "0"}, "no number of days"),
        ({"name": "oslo", "days": "1e9"}, "no number of days"),
        ({"name": "oslo", "days": "nan"}, "no number of days"),
        ({"name": "oslo", "days": "soon"}, "no number of days"),
        ({"name": "bergen", "days": "7"}, "already enrolled"),
    ],
)
def test_an_invitation_that_cannot_be_is_told_and_not_made(
    console: Console, form: dict[str, str], what: str
) -> None:
    console.enrol("bergen")

    answer = console.browser_of("ada").post("/sites/invite", form)

    assert answer.status_code == 409
    assert what in text_of(answer.text).replace("&#39;", "'")
    assert console.coordinator.federation.invited(now=time.time()) == []


def test_a_withdrawn_invitation_is_gone_from_the_page(console: Console) -> None:
    browser = console.browser_of("ada")
    browser.post("/sites/invite", {"name": "bergen", "days": "7"})

    assert browser.post("/sites/bergen/withdraw").headers["location"] == "/"

    assert "bergen" not in browser.get("/").text
    assert browser.post("/sites/bergen/withdraw").status_code == 404


def test_a_hospital_that_waits_is_let_in_with_the_keys_that_were_compared(console: Console) -> None:
    keys = console.enrol("cork", by_hand=True)
    browser = console.browser_of("ada")
    assert keys.fingerprint in browser.get("/").text

    answer = browser.post("/sites/cork/approve", {"fingerprint": keys.fingerprint, "compared": "on"})

    assert answer.status_code == 303
    assert console.states() == {"cork": "active"}
    (approved,) = console.lines("site.approved")
    assert (approved[0], approved[2]) == ("person:ada", {"keys": keys.fingerprint})


@pytest.mark.parametrize("form", [{"compared": "on"}, {"compared": "on", "fingerprint": "ab" * 32}, {}])
def test_a_hospital_whose_fingerprint_was_not_compared_or_differs_still_waits(
    console: Console, form: dict[str, str]
) -> None:
    keys = console.enrol("cork", by_hand=True)
    given = form or {"fingerprint": keys.fingerprint}

    assert console.browser_of("ada").post("/sites/cork/approve", given).status_code == 409

    assert console.states() == {}
    assert [each.site_name for each in console.coordinator.applications.waiting()] == ["cork"]


def test_the_form_that_revokes_comes_when_it_is_asked_for_in_one_card_and_to_administrators(
    console: Console,
) -> None:
    for name in ("bergen", "cork"):
        console.enrol(name)
    browser, viewer = console.browser_of("ada"), console.browser_of("vera")

    plain, asked = browser.get("/").text, browser.get("/?revoke=cork").text

    assert 'href="/?revoke=bergen#' in plain
    assert '/revoke"' not in plain
    assert asked.count('/revoke"') == 1
    assert 'action="/sites/cork/revoke"' in asked
    assert "revoke" not in viewer.get("/?revoke=cork").text


def test_a_hospital_is_sent_away_and_a_member_revoked_with_the_reason(console: Console) -> None:
    console.enrol("bergen")
    console.enrol("cork", by_hand=True)
    browser = console.browser_of("ada")

    browser.post("/sites/cork/reject")
    browser.post("/sites/bergen/revoke", {"reason": "has left the study"})

    assert console.states() == {"bergen": SiteState.REVOKED.value}
    assert console.coordinator.applications.waiting() == []
    ((actor, _, details),) = console.lines("site.revoked")
    assert actor == "person:ada"
    assert details["reason"] == "has left the study"
    assert "Revoked hospitals" in browser.get("/").text
    assert browser.post("/sites/bergen/revoke", {"reason": ""}).status_code == 409
