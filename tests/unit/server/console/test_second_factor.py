"""The second factor and the own page: what is asked for, what opens nothing, what is kept."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pyotp
import pytest
from typer.testing import CliRunner

import server.console.second_factor
from server.cli import app
from server.console.desk import QUARTER_S, TRIES_OF_NAME_AND_ADDRESS
from server.console.second_factor import (
    STEP_S,
    address_of,
    hash_of,
    matching_step,
    new_recovery_codes,
    new_secret,
)
from server.store.second_factors import SecondFactors
from shared.errors import ConfigError, TamperedError, TrustError
from shared.files import write_file
from shared.persons.roles import Role
from tests.unit.server.console.console import PASSWORD, Browser, Console
from tests.unit.server.console.test_federation_page import text_of

RFC_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
"""`12345678901234567890` in base32, of RFC 6238's appendix B."""


class Enrolled:
    """A person who has set up a second factor in the browser."""

    def __init__(self, console: Console, name: str = "otto") -> None:
        self.console, self.name = console, name
        browser = console.browser_of(name)
        shown = browser.post("/account/second-factor", {"password": PASSWORD}).text
        found = re.search(r"Key: <code>([A-Z2-7]{32})</code>", shown)
        assert found
        assert "<svg" in shown
        assert "style=" not in shown
        assert 'fill="#fff"' in shown  # a camera needs black on white, also in the dark
        self.totp = pyotp.TOTP(found[1])
        assert browser.sign_in(name).status_code == 303  # not in force yet
        confirmed = browser.post("/account/second-factor/confirm", {"code": self.code()}).text
        self.recovery_codes = re.findall(r"<li><code>([a-z2-9-]+)</code></li>", confirmed)
        self.browser = browser

    def code(self) -> str:
        return self.totp.at(int(self.console.clock()))

    def next_code(self) -> str:
        self.console.clock.now += STEP_S
        return self.code()

    def sign_in(self, code: str, *, password: str = PASSWORD, browser: Browser | None = None) -> int:
        form = {"name": self.name, "password": password, "code": code, "to": "/"}
        return (browser or self.console.stranger()).post("/sign-in", form).status_code


@pytest.fixture
def enrolled(console: Console) -> Enrolled:
    return Enrolled(console)


# -- codes


@pytest.mark.parametrize(("at", "code"), [(59, "287082"), (1111111109, "081804"), (2000000000, "279037")])
def test_codes_are_those_of_the_standard(at: int, code: str) -> None:
    assert matching_step(RFC_SECRET, code, now=at, after=0) == at // STEP_S


def test_a_code_holds_one_step_early_and_late_and_never_twice() -> None:
    secret = new_secret()
    code, step = pyotp.TOTP(secret).at(3_000), 100

    assert [matching_step(secret, code, now=now, after=0) for now in (2_939, 2_970, 3_000, 3_059, 3_060)] == [
        None,
        step,
        step,
        step,
        None,
    ]
    assert matching_step(secret, f"{code[:3]} {code[3:]}", now=3_000, after=0) == step
    assert matching_step(secret, code, now=3_000, after=step) is None


def test_an_authenticator_is_told_whose_key_of_which_federation_it_is() -> None:
    told = pyotp.parse_uri(address_of(RFC_SECRET, name="ada", federation="Density <study>"))

    assert (told.name, told.issuer, told.secret) == ("ada", "Density <study>", RFC_SECRET)


def test_recovery_codes_differ_and_are_the_same_however_they_are_typed() -> None:
    codes = new_recovery_codes()

    assert len(set(codes)) == 10
    assert hash_of(codes[0].upper().replace("-", " ")) == hash_of(codes[0])
    assert hash_of(codes[0]) != hash_of(codes[1])


# -- signing in


def test_a_stolen_password_opens_nothing_without_a_code_of_now(enrolled: Enrolled) -> None:
    assert enrolled.sign_in("") == 403
    assert enrolled.sign_in("000000") == 403
    assert enrolled.sign_in(enrolled.next_code(), password="another password") == 403
    assert enrolled.sign_in(enrolled.next_code()) == 303
    assert {line[2]["cause"] for line in enrolled.console.lines("person.sign_in_refused")} == {
        "code",
        "password",
    }


def test_the_answer_does_not_tell_a_wrong_code_from_a_wrong_password(enrolled: Enrolled) -> None:
    stranger = enrolled.console.stranger()
    wrong_code = stranger.post("/sign-in", {"name": "otto", "password": PASSWORD, "code": "000000"})
    wrong_word = stranger.post("/sign-in", {"name": "otto", "password": "x" * 12, "code": "000000"})

    assert wrong_code.text == wrong_word.text


def test_replay_a_code_that_was_used_opens_nothing(enrolled: Enrolled) -> None:
    assert enrolled.sign_in(enrolled.code()) == 403  # put the factor in force
    code = enrolled.next_code()

    assert [enrolled.sign_in(code), enrolled.sign_in(code)] == [303, 403]


def test_brute_force_of_codes_ends_after_a_few_tries(enrolled: Enrolled) -> None:
    for _ in range(TRIES_OF_NAME_AND_ADDRESS):
        assert enrolled.sign_in("000000") == 403

    assert enrolled.sign_in(enrolled.next_code()) == 403
    enrolled.console.clock.now += QUARTER_S
    assert enrolled.sign_in(enrolled.next_code()) == 303


def test_a_recovery_code_stands_in_once(enrolled: Enrolled) -> None:
    code = enrolled.recovery_codes[0]

    assert [enrolled.sign_in(code.upper()), enrolled.sign_in(code)] == [303, 403]
    assert enrolled.console.lines("person.recovery_code_used") == [("person:otto", "otto", {})]
    assert "9 recovery codes are left" in text_of(enrolled.browser.get("/account").text)


def test_a_recovery_code_of_another_person_opens_nothing(console: Console) -> None:
    otto, ada = Enrolled(console), Enrolled(console, "ada")

    assert otto.sign_in(ada.recovery_codes[0]) == 403
    assert ada.sign_in(ada.recovery_codes[0]) == 303


def test_what_is_kept_of_a_second_factor_opens_nothing(enrolled: Enrolled) -> None:
    console = enrolled.console
    database = b"".join(file.read_bytes() for file in console.home.folder.glob("coordinator.db*"))

    for secret in (enrolled.totp.secret, *enrolled.recovery_codes):
        assert secret.encode() not in database
        assert secret.replace("-", "").encode() not in database
    assert console.home.second_factor_key_file.stat().st_mode & 0o777 == 0o600
    another = console.home.folder / "another.key"
    write_file(another, b"k" * 32)
    with pytest.raises(TamperedError):
        SecondFactors(console.coordinator.second_factors._engine, another).of("otto")


# -- the own page


def test_stolen_browser_nothing_is_changed_without_password_and_code(enrolled: Enrolled) -> None:
    browser = enrolled.browser
    for form in ({"password": "x" * 12, "code": enrolled.next_code()}, {"password": PASSWORD, "code": ""}):
        assert browser.post("/account/second-factor/remove", form).status_code == 403
        new = {"new": "words of somebody else", "again": "words of somebody else"}
        assert browser.post("/account/password", {**form, **new}).status_code == 403

    assert enrolled.sign_in(enrolled.next_code()) == 303


def test_a_person_removes_the_second_factor_and_is_signed_out(enrolled: Enrolled) -> None:
    form = {"password": PASSWORD, "code": enrolled.next_code()}

    assert enrolled.browser.post("/account/second-factor/remove", form).status_code == 303
    assert enrolled.browser.get("/account").status_code == 303  # signed out
    assert enrolled.sign_in("") == 303
    assert len(enrolled.console.lines("person.second_factor_removed")) == 1


def test_a_second_factor_that_stands_is_not_replaced_by_another(enrolled: Enrolled) -> None:
    form = {"password": PASSWORD, "code": enrolled.next_code()}

    assert enrolled.browser.post("/account/second-factor", form).status_code == 409
    assert enrolled.browser.post("/account/second-factor/confirm", {"code": "000000"}).status_code == 403
    assert enrolled.sign_in(enrolled.next_code()) == 303


def test_a_person_sets_another_password_and_is_signed_out_everywhere(console: Console) -> None:
    browser, other, words = console.browser_of("vera"), console.browser_of("vera"), "words of vera's own no"
    new = {"new": words.replace("vera", "who"), "again": words.replace("vera", "who")}

    assert browser.post("/account/password", {"password": "x" * 12, **new}).status_code == 403
    differing = {"password": PASSWORD, **new, "again": "y" * 12}
    assert browser.post("/account/password", differing).status_code == 409
    named = {"password": PASSWORD, "new": words, "again": words}
    assert browser.post("/account/password", named).status_code == 409
    assert browser.post("/account/password", {"password": PASSWORD, **new}).status_code == 303
    assert other.get("/account").headers["location"] == "/sign-in?to=/account"
    assert console.stranger().sign_in("vera").status_code == 403
    assert console.stranger().sign_in("vera", new["new"]).status_code == 303


# -- the terminal


def test_at_the_terminal_a_person_sets_one_up_and_removes_it_under_their_token(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = console.coordinator.persons.add("eva", Role.VIEWER, actor="test", at=time.time()).reveal()
    console.set_password("eva")

    def command(*arguments: str, typed: str = "", given: str = token) -> list[dict[str, Any]]:
        line = ["user", "second-factor", *arguments, "--home", str(console.home.folder), "--json"]
        done = CliRunner(env={"MAMMOFED_TOKEN": given}).invoke(app, line, input=typed)
        if done.exception is not None:
            raise done.exception
        return [json.loads(each) for each in done.stdout.splitlines()]

    with pytest.raises(TrustError, match="known who you are"):
        command(given="")
    with pytest.raises(TrustError, match="not the code of now"):
        command(typed="000000\n")
    assert console.stranger().sign_in("eva").status_code == 303  # not in force
    with pytest.raises(ConfigError, match="no second factor"):
        command("--remove")

    monkeypatch.setattr(server.console.second_factor, "new_secret", lambda: RFC_SECRET)
    begun, done = command(typed=pyotp.TOTP(RFC_SECRET).now() + "\n")
    assert pyotp.parse_uri(begun["address"]).secret == RFC_SECRET
    assert len(done["recovery_codes"]) == 10
    assert console.stranger().sign_in("eva").status_code == 403
    assert command("--remove") == [{"name": "eva", "second_factor": "removed"}]
    assert console.stranger().sign_in("eva").status_code == 303
