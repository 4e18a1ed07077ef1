"""What attackers try at the console; each test bears the attack's name, and the old state survives."""

from __future__ import annotations

import re
import threading
from urllib.parse import quote

import pytest
from argon2 import PasswordHasher

import server.console.passwords
from server.console.app import own_path
from server.console.desk import QUARTER_S, TRIES_OF_ADDRESS, TRIES_OF_NAME, TRIES_OF_NAME_AND_ADDRESS
from server.console.gate import COOKIE, MOST_BYTES, OPEN
from server.store.sign_ins import IDLE_S, LIFE_S
from tests.unit.server.console.console import ORIGIN, PASSWORD, Browser, Console

FOREIGN = {
    "another site": {"origin": "https://evil.example"},
    "another port of this host": {"origin": "https://localhost:9999"},
    "without TLS": {"origin": "http://localhost:8447"},
    "a sandboxed frame": {"origin": "null"},
    "a browser that says it": {"origin": ORIGIN, "sec-fetch-site": "same-site"},
}


def routes_of(console: Console) -> list[tuple[str, str]]:
    routes = console.app._app.router.routes
    return [(method, route.path) for route in routes for method in route.methods - {"HEAD"}]


# -- without a sign-in


def test_nothing_but_the_sign_in_the_health_and_the_static_files_answers_a_stranger(console: Console) -> None:
    stranger = console.stranger()

    for method, path in routes_of(console):
        place = path.replace("{name}", "console.css")
        answer = stranger.get(place) if method == "GET" else stranger.post(place)
        if path in OPEN or path.startswith("/static/"):
            assert answer.status_code in {200, 403}
        elif method == "GET":
            sign_in = "/sign-in?to=" + quote(place, safe="/:")
            assert (answer.status_code, answer.headers["location"]) == (303, sign_in)
        else:
            assert answer.status_code == 401
    assert len(routes_of(console)) > 8


def test_a_path_that_does_not_exist_tells_a_stranger_nothing(console: Console) -> None:
    assert console.stranger().get("/nothing").headers["location"] == "/sign-in?to=/nothing"
    assert console.browser_of("vera").get("/nothing").status_code == 404


# -- cross-site request forgery


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_a_form_that_a_foreign_page_sends_changes_nothing(console: Console, headers: dict[str, str]) -> None:
    console.enrol("bergen")
    browser = console.browser_of("ada")

    answer = browser.post("/sites/bergen/revoke", {"reason": "forged"}, **headers)

    assert answer.status_code == 403
    assert console.states() == {"bergen": "active"}


def test_a_request_that_does_not_say_where_it_comes_from_changes_nothing(console: Console) -> None:
    console.enrol("bergen")

    answer = console.browser_of("ada").ask("POST", "/sites/bergen/revoke", data={"reason": "forged"})

    assert answer.status_code == 403
    assert console.states() == {"bergen": "active"}


def test_a_foreign_page_cannot_sign_a_browser_in(console: Console) -> None:
    stranger = console.stranger()

    answer = stranger.post("/sign-in", {"name": "vera", "password": PASSWORD}, origin="https://evil.example")

    assert answer.status_code == 403
    assert not stranger.cookies


def test_looking_changes_nothing(console: Console) -> None:
    console.enrol("bergen")
    browser = console.browser_of("ada")

    for path in ("/sites/bergen/revoke", "/sign-out", "/sites/invite"):
        assert browser.get(path).status_code == 404
    assert console.states() == {"bergen": "active"}
    assert browser.get("/").status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_another_method_changes_nothing(console: Console, method: str) -> None:
    console.enrol("bergen")

    answer = console.browser_of("ada").ask(method, "/sites/bergen/revoke")

    assert answer.status_code in {403, 404, 413}
    assert console.states() == {"bergen": "active"}


# -- sessions


def test_session_fixation_a_key_that_the_browser_brought_is_not_taken_over(console: Console) -> None:
    planted = "planted-by-somebody-else"
    victim, thief = console.stranger(), console.stranger()
    for browser in (victim, thief):
        browser.cookies.set(COOKIE, planted)

    victim.cookies.delete(COOKIE)
    victim.ask(
        "POST",
        "/sign-in",
        data={"name": "ada", "password": PASSWORD},
        headers={"origin": ORIGIN, "cookie": f"{COOKIE}={planted}"},
    )

    assert victim.cookies[COOKIE] != planted
    assert victim.get("/").status_code == 200
    assert thief.get("/").status_code == 303


def test_signing_in_again_ends_the_sign_in_of_before(console: Console) -> None:
    browser = console.browser_of("ada")
    before = browser.cookies[COOKIE]

    browser.sign_in("ada")

    thief = console.stranger()
    thief.cookies.set(COOKIE, before)
    assert thief.get("/").status_code == 303


def test_the_cookie_is_for_this_host_over_tls_alone_and_no_script_reads_it(console: Console) -> None:
    cookie = console.stranger().sign_in("ada").headers["set-cookie"]

    assert cookie.startswith("__Host-")
    assert {"HttpOnly", "Secure", "SameSite=strict", "Path=/"} <= set(re.split("; ", cookie))
    assert "Domain" not in cookie
    assert "Max-Age" not in cookie


def test_what_is_kept_of_a_sign_in_opens_nothing(console: Console) -> None:
    browser = console.browser_of("ada")

    raw = (console.home.folder / "coordinator.db").read_bytes()
    raw += (console.home.folder / "coordinator.db-wal").read_bytes()

    assert browser.cookies[COOKIE].encode() not in raw
    assert PASSWORD.encode() not in raw
    assert b"$argon2id$" in raw


@pytest.mark.parametrize("later_s", [IDLE_S + 1, LIFE_S + 1])
def test_a_sign_in_that_is_not_used_ends_by_itself(console: Console, later_s: float) -> None:
    browser = console.browser_of("ada")

    console.clock.now += later_s

    assert browser.get("/").status_code == 303


def test_a_sign_in_that_is_used_all_the_time_ends_all_the_same(console: Console) -> None:
    browser = console.browser_of("ada")

    for _ in range(int(LIFE_S / IDLE_S * 2) - 1):
        console.clock.now += IDLE_S / 2
        assert browser.get("/").status_code == 200
    console.clock.now += IDLE_S / 2

    assert browser.get("/").status_code == 303


@pytest.mark.parametrize("end", ["signed out", "disabled", "another password"])
def test_a_sign_in_ends_with_what_it_rests_on(console: Console, end: str) -> None:
    browser = console.browser_of("otto")
    thief = console.stranger()
    thief.cookies.set(COOKIE, browser.cookies[COOKIE])

    if end == "signed out":
        assert browser.post("/sign-out").headers["location"] == "/sign-in"
    elif end == "disabled":
        console.coordinator.persons.disable("otto", actor="test", at=console.clock())
    else:
        console.set_password("otto", "other words of nobody's")

    assert thief.get("/").status_code == 303
    assert console.stranger().sign_in("otto").status_code == (303 if end == "signed out" else 403)


# -- passwords


def test_brute_force_ends_after_a_few_tries_even_with_the_right_password_then(console: Console) -> None:
    attacker = console.stranger("10.0.0.9")
    for number in range(TRIES_OF_NAME_AND_ADDRESS):
        assert attacker.sign_in("ada", f"guess {number}").status_code == 403

    assert "too many tries" in attacker.sign_in("ada").text
    assert console.stranger("10.0.0.8").sign_in("ada").status_code == 303
    console.clock.now += QUARTER_S + 1
    assert attacker.sign_in("ada").status_code == 303


def test_brute_force_over_many_names_ends_too(console: Console) -> None:
    attacker = console.stranger("10.0.0.9")
    for number in range(TRIES_OF_ADDRESS):
        attacker.sign_in(f"person-{number}", PASSWORD)

    assert "too many tries" in attacker.sign_in("ada").text


def test_brute_force_from_many_addresses_ends_too(console: Console) -> None:
    for number in range(TRIES_OF_NAME):
        console.stranger(f"10.0.0.{number}").sign_in("ada", "guess")

    assert "too many tries" in console.stranger("10.0.1.1").sign_in("ada").text
    assert console.stranger("10.0.1.1").sign_in("vera").status_code == 303


def test_brute_force_by_tries_that_come_at_once_gets_no_more_of_them(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []
    monkeypatch.setattr(
        "server.console.desk.is_right", lambda password, _encoded: hashed.append(password) or False
    )
    start = threading.Barrier(12)

    def guess(number: int) -> None:
        start.wait()
        console.stranger("10.0.0.9").sign_in("ada", f"guess {number}")

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(hashed) == TRIES_OF_NAME_AND_ADDRESS


def test_a_flood_of_refused_tries_does_not_flood_the_audit_log(console: Console) -> None:
    attacker = console.stranger("10.0.0.9")
    for _ in range(30):
        attacker.sign_in("ada", "guess")

    causes = [details["cause"] for _, _, details in console.lines("person.sign_in_refused")]
    assert causes.count("password") == TRIES_OF_NAME_AND_ADDRESS
    assert causes.count("too-many") <= 2


@pytest.mark.parametrize("name", ["nobody-here", "otto", "'; DROP TABLE person; --", "Ada"])
def test_neither_answer_nor_work_tells_whether_a_name_is_anybodys(
    console: Console, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    console.coordinator.persons.disable("otto", actor="test", at=console.clock())
    worked = []

    class Counted(PasswordHasher):
        def verify(self, encoded, password):
            worked.append(encoded.rsplit("$", 2)[0])
            return super().verify(encoded, password)

    monkeypatch.setattr(
        server.console.passwords, "_hasher", Counted(time_cost=1, memory_cost=8, parallelism=1)
    )

    unknown, known = (console.stranger().sign_in(each, "guess") for each in (name, "ada"))

    assert without_values(unknown.text) == without_values(known.text)
    assert unknown.status_code == known.status_code == 403
    assert len(worked) == 2
    assert worked[0] == worked[1]


def without_values(text: str) -> str:
    return re.sub(r'value="[^"]*"', "", text)


def test_a_password_is_hashed_as_rfc_9106_says(hashed_in_a_hurry: PasswordHasher) -> None:
    real = hashed_in_a_hurry

    assert real.hash(PASSWORD).startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_who_signs_in_and_out_and_who_was_refused_is_written_down_without_what_was_typed(
    console: Console,
) -> None:
    browser = console.browser_of("vera")
    browser.post("/sign-out")
    console.stranger().sign_in("vera", "a wrong one")
    console.stranger().sign_in("my-secret-password-by-mistake", "")

    assert console.lines("person.signed_in") == [("person:vera", "vera", {})]
    assert console.lines("person.signed_out") == [("person:vera", "vera", {})]
    assert console.lines("person.sign_in_refused") == [
        ("coordinator", "console", {"person": "vera", "cause": "password"}),
        ("coordinator", "console", {"person": None, "cause": "password"}),
    ]


# -- pages


def every_answer(console: Console) -> list[tuple[str, str, str]]:
    """Text, policy and frame options of an answer of each kind."""
    browser, stranger = console.browser_of("ada"), console.stranger()
    answers = [
        stranger.get("/"),
        stranger.get("/sign-in"),
        stranger.get("/health"),
        stranger.get("/static/console.css"),
        stranger.post("/sign-in", origin="https://evil.example"),
        stranger.get("/", base="https://evil.example"),
        browser.get("/"),
        browser.get("/nothing"),
        browser.post("/sites/invite", {"name": "bergen", "days": "7"}),
        browser.post("/sites/invite", {"name": "-", "days": "7"}),
    ]
    return [
        (
            answer.text,
            answer.headers["content-security-policy"],
            answer.headers["x-frame-options"],
        )
        for answer in answers
    ]


def test_clickjacking_no_answer_lets_itself_be_framed(console: Console) -> None:
    for _, policy, frames in every_answer(console):
        assert "frame-ancestors 'none'" in policy
        assert frames == "DENY"


def test_cross_site_scripting_no_page_has_or_may_run_a_script_of_its_own(console: Console) -> None:
    for text, policy, _ in every_answer(console):
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:", text)


def test_cross_site_scripting_names_that_others_chose_are_text(console: Console) -> None:
    for text in (console.stranger().get("/sign-in").text, console.browser_of("ada").get("/").text):
        assert "<study>" not in text
        assert "Density &lt;study&gt;" in text
    refused = console.stranger().sign_in("\"><script src='/x'></script>", "guess")
    assert "<script src='/x'>" not in refused.text
    assert "&lt;script" in refused.text


@pytest.mark.parametrize(
    "place",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/%2f%2fevil",
        "/a//b",
        "javascript:x",
        "",
        "/a\n",
    ],
)
def test_open_redirect_the_sign_in_leads_to_this_console_alone(console: Console, place: str) -> None:
    answer = console.stranger().post("/sign-in", {"name": "ada", "password": PASSWORD, "to": place})

    assert answer.headers["location"] == "/"
    assert own_path("/runs/run-1") == "/runs/run-1"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/..%5capp.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/console.css%00.py",
        "/static/",
        "/static/__init__.py",
    ],
)
def test_path_traversal_no_other_file_is_a_static_one(console: Console, path: str) -> None:
    answer = console.browser_of("ada").get(path)

    assert answer.status_code == 404
    assert "import" not in answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize("name", ["vera", "otto"])
@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/sites/invite", {"name": "oslo", "days": "7"}),
        ("/sites/bergen/revoke", {"reason": ""}),
        ("/sites/cork/approve", {"compared": "on"}),
        ("/sites/cork/reject", {"": ""}),
        ("/sites/cork/withdraw", {"": ""}),
    ],
)
def test_role_escalation_a_role_that_is_not_enough_changes_nothing(
    console: Console, name: str, path: str, form: dict[str, str]
) -> None:
    console.enrol("bergen")
    keys = console.enrol("cork", by_hand=True)
    deeds = deeds_on_sites(console)

    answer = console.browser_of(name).post(
        path, {**form, "fingerprint": keys.fingerprint, "role": "administrator", "actor": "person:ada"}
    )

    assert answer.status_code == 403
    assert "Ask somebody whose role is" in answer.text
    assert console.states() == {"bergen": "active"}
    assert [each.site_name for each in console.coordinator.applications.waiting()] == ["cork"]
    assert deeds_on_sites(console) == deeds


def deeds_on_sites(console: Console) -> list[str]:
    """What the audit log tells of sites."""
    return [line.name for line in console.coordinator.audit.lines() if line.name.startswith("site.")]


def test_dns_rebinding_a_foreign_name_that_is_pointed_here_gets_nothing_of_the_console(
    console: Console,
) -> None:
    browser = console.browser_of("ada")
    cookie = {"cookie": f"{COOKIE}={browser.cookies[COOKIE]}"}

    for base in ("https://evil.example", "https://localhost.evil.example:8447", "https://10.0.0.1"):
        answer = Browser(console.app).get("/", base=base, headers=cookie)
        assert answer.status_code == 421
        assert "Density" not in answer.text
    for base in ("https://127.0.0.1:9000", "https://LOCALHOST"):
        assert Browser(console.app).get("/", base=base, headers=cookie).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"name=" + b"a" * MOST_BYTES, "application/x-www-form-urlencoded"),
        (b'{"name": "ada"}', "application/json"),
        (b"name=ada", "text/plain"),
        (b"name=%ff", "application/x-www-form-urlencoded"),
        ("name=å".encode(), "application/x-www-form-urlencoded"),
    ],
    ids=["large", "json", "plain text", "not UTF-8", "not ASCII"],
)
def test_a_body_that_is_no_small_form_is_not_read(console: Console, content: bytes, kind: str) -> None:
    answer = console.stranger().ask(
        "POST", "/sign-in", content=content, headers={"origin": ORIGIN, "content-type": kind}
    )

    assert answer.status_code == 413
