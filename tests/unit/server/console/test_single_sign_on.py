"""Signing in by way of a provider of OpenID Connect: a real one on loopback, and hostile ones.

After each attack nobody is signed in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from server.console.app import make_app
from server.console.gate import BACK, COOKIE, ELSEWHERE
from server.console.single_sign_on import GOING, GOING_S, TRIES_OF_ADDRESS
from server.single_sign_on import SingleSignOnSettings
from server.store.identities import Claim, Identity
from shared.errors import ConfigError
from tests.unit.server.console.console import Browser, Console

jose = pytest.importorskip("joserfc", reason="the extra `single-sign-on` is not installed")
from joserfc import jwk, jwt  # noqa: E402

CLIENT = "mammofed"
SUBJECT = "ada-at-the-hospital"
ISSUER = "https://login.hospital.example"


# -- a real provider


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    mock = pytest.importorskip("oidc_provider_mock", reason="the provider of the tests is not installed")
    with mock.run_server_in_thread() as server:
        yield f"http://localhost:{server.server_port}"


def with_provider(console: Console, issuer: str, transport: httpx.BaseTransport | None = None) -> Console:
    secret = console.home.folder / "single-sign-on.secret"
    secret.touch(0o600)
    secret.write_text("known to both\n")
    console.app = make_app(
        console.home,
        console.coordinator,
        control=console.superlink,
        clock=console.clock,
        single_sign_on=SingleSignOnSettings(
            issuer=issuer,
            client_id=CLIENT,
            client_secret_file=secret.name if transport is None else None,
            label="Hospital login",
        ),
        transport=transport,
    )
    return console


def bind(
    console: Console, issuer: str, name: str = "ada", *, claim: Claim = Claim.SUBJECT, value=SUBJECT
) -> None:
    identity = Identity(issuer=issuer, claim=claim, value=value)
    console.coordinator.identities.bind(name, identity, actor=f"person:{name}", at=console.clock())


def agree(address: str, subject: str = SUBJECT) -> str:
    """What a person does at the provider; returns where their browser is sent."""
    return httpx.post(address, data={"sub": subject}).headers["location"]


def come_back(browser: Browser, location: str) -> httpx.Response:
    parts = urlsplit(location)
    assert parts.path == BACK
    return browser.get(f"{parts.path}?{parts.query}")


def is_in(browser: Browser) -> bool:
    return browser.get("/").status_code == 200


def test_a_bound_person_signs_in_by_way_of_a_real_provider_in_the_role_that_they_have_here(
    console: Console, provider: str
) -> None:
    bind(with_provider(console, provider), provider, "vera")
    browser = console.stranger()
    assert "Hospital login" in browser.get("/sign-in").text

    gone = browser.get(f"{ELSEWHERE}?to=/runs")
    back = come_back(browser, agree(gone.headers["location"]))

    assert back.status_code == 200
    assert 'content="0; url=/runs"' in back.text
    assert is_in(browser)
    page = browser.get("/").text
    assert "vera" in page
    assert "Invite a hospital" not in page  # a viewer, whatever the provider says
    assert console.lines("person.signed_in")[-1][0] == "person:vera"
    assert GOING not in browser.cookies


def test_the_sign_in_by_a_provider_has_pkce_state_and_nonce_of_its_own_each_time(
    console: Console, provider: str
) -> None:
    sent: list[httpx.Request] = []

    class Recording(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            sent.append(request)
            return super().handle_request(request)

    bind(with_provider(console, provider, Recording()), provider)
    browser = console.stranger()
    first, second = (parse_qs(urlsplit(browser.get(ELSEWHERE).headers["location"]).query) for _ in range(2))
    location = browser.get(ELSEWHERE).headers["location"]
    come_back(browser, agree(location))

    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name]
        assert len(first[name][0]) >= 43  # 256 bits in base64
    assert first["code_challenge_method"] == ["S256"]
    verifier = parse_qs(next(each for each in sent if each.method == "POST").content.decode())[
        "code_verifier"
    ][0]
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert parse_qs(urlsplit(location).query)["code_challenge"] == [challenge]


def test_nobody_signs_in_who_has_no_account_here_and_is_told_what_to_do(
    console: Console, provider: str
) -> None:
    bind(with_provider(console, provider), provider)
    browser = console.stranger()

    back = come_back(browser, agree(browser.get(ELSEWHERE).headers["location"], "somebody-else"))

    assert back.status_code == 403
    assert "whose subject there is somebody-else" in back.text
    assert not is_in(browser)
    assert console.lines("person.sign_in_refused")[-1][2]["cause"] == "single-sign-on"


def test_a_disabled_person_is_not_let_in_by_a_provider_either(console: Console, provider: str) -> None:
    bind(with_provider(console, provider), provider, "vera")
    console.coordinator.persons.disable("vera", actor="person:ada", at=console.clock())
    browser = console.stranger()

    assert come_back(browser, agree(browser.get(ELSEWHERE).headers["location"])).status_code == 403
    assert not is_in(browser)


def test_without_the_setting_there_is_no_way_by_a_provider(console: Console) -> None:
    browser = console.stranger()

    assert browser.get(ELSEWHERE).status_code == 404
    assert browser.get(f"{BACK}?code=x&state=y").status_code == 404
    assert ELSEWHERE not in browser.get("/sign-in").text


def test_a_provider_that_is_away_leaves_the_password(console: Console) -> None:
    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody")

    with_provider(console, ISSUER, httpx.MockTransport(away))
    browser = console.stranger()

    answer = browser.get(ELSEWHERE)

    assert answer.status_code == 403
    assert "does not answer as it should" in answer.text
    assert browser.sign_in("ada").status_code == 303


# -- whose identity it is


def test_one_identity_is_one_persons_so_that_nobody_is_both_that_a_release_needs(
    console: Console,
) -> None:
    bind(console, ISSUER, "ada")

    with pytest.raises(ConfigError, match="Another person"):
        bind(console, ISSUER, "otto")

    assert console.coordinator.identities.whose(ISSUER, subject=SUBJECT, verified_email=None) == "ada"


def test_an_identity_of_another_issuer_is_somebody_else(console: Console) -> None:
    bind(console, ISSUER)

    whose = console.coordinator.identities.whose
    assert whose("https://evil.example", subject=SUBJECT, verified_email=None) is None


def test_releasing_an_identity_ends_the_sign_ins_of_its_person(console: Console, provider: str) -> None:
    bind(with_provider(console, provider), provider)
    browser = console.stranger()
    come_back(browser, agree(browser.get(ELSEWHERE).headers["location"]))
    assert is_in(browser)

    console.coordinator.identities.release("ada", actor="person:ada", at=console.clock())

    assert not is_in(browser)


# -- attacks by somebody with a browser


def test_replaying_a_state_opens_nothing(console: Console, provider: str) -> None:
    bind(with_provider(console, provider), provider)
    browser = console.stranger()
    location = agree(browser.get(ELSEWHERE).headers["location"])
    going = browser.cookies[GOING]
    come_back(browser, location)

    again = console.stranger()
    again.cookies.set(GOING, going, domain="localhost")

    assert come_back(again, location).status_code == 403
    assert not is_in(again)


def test_login_csrf_by_an_answer_that_was_begun_in_another_browser_opens_nothing(
    console: Console, provider: str
) -> None:
    bind(with_provider(console, provider), provider)
    attacker, victim = console.stranger(), console.stranger()
    location = agree(attacker.get(ELSEWHERE).headers["location"])

    without = come_back(victim, location)
    victim.get(ELSEWHERE)  # has begun one of their own
    beside = come_back(victim, location)

    assert (without.status_code, beside.status_code) == (403, 403)
    assert not is_in(victim)


def test_an_answer_that_comes_too_late_opens_nothing(console: Console, provider: str) -> None:
    bind(with_provider(console, provider), provider)
    browser = console.stranger()
    location = agree(browser.get(ELSEWHERE).headers["location"])
    console.clock.now += GOING_S + 1

    assert come_back(browser, location).status_code == 403
    assert not is_in(browser)


def test_session_fixation_by_a_key_that_was_brought_is_in_vain(console: Console, provider: str) -> None:
    bind(with_provider(console, provider), provider)
    browser = console.stranger()
    browser.cookies.set(COOKIE, "known-to-the-attacker", domain="localhost")

    come_back(browser, agree(browser.get(ELSEWHERE).headers["location"]))

    attacker = console.stranger()
    attacker.cookies.set(COOKIE, "known-to-the-attacker", domain="localhost")
    assert not is_in(attacker)


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", '/runs"><script>', "javascript:x"])
def test_an_open_redirect_by_way_of_a_provider_leads_to_the_first_page(
    console: Console, provider: str, to: str
) -> None:
    bind(with_provider(console, provider), provider)
    browser = console.stranger()
    gone = browser.ask("GET", ELSEWHERE, params={"to": to})

    back = come_back(browser, agree(gone.headers["location"]))

    assert 'content="0; url=/"' in back.text


def test_asking_a_provider_again_and_again_ends_soon(console: Console, provider: str) -> None:
    browser = with_provider(console, provider).stranger()

    codes = [browser.get(ELSEWHERE).status_code for _ in range(TRIES_OF_ADDRESS + 1)]

    assert codes == [303] * TRIES_OF_ADDRESS + [403]


# -- attacks by, or in the name of, a provider


KEY, OTHER_KEY = (jwk.RSAKey.generate_key(2048, {"kid": "one"}, auto_kid=False) for _ in range(2))


class HostileProvider(httpx.MockTransport):
    """Answers as its issuer; what its token says and who signs it is up to the attack."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.nonce = ""
        self.metadata: dict[str, Any] = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
        }
        self.sign: Callable[[dict[str, Any]], str] = lambda claims: jwt.encode(
            {"alg": "RS256", "kid": "one"}, claims, KEY
        )
        self.claims: dict[str, Any] = {}

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("openid-configuration"):
            return httpx.Response(200, json=self.metadata)
        if request.url.path == "/keys":
            return httpx.Response(200, json={"keys": [KEY.as_dict(private=False)]})
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": SUBJECT,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": self.nonce,
            **self.claims,
        }
        told = {name: value for name, value in claims.items() if value is not None}
        return httpx.Response(200, json={"id_token": self.sign(told)})

    def visit(self, browser: Browser, **more: str) -> httpx.Response:
        """Go there and come back with a code."""
        asked = parse_qs(urlsplit(browser.get(ELSEWHERE).headers["location"]).query)
        self.nonce = self.nonce or asked["nonce"][0]
        return browser.ask("GET", BACK, params={"code": "code", "state": asked["state"][0], **more})


@pytest.fixture
def hostile(console: Console) -> HostileProvider:
    made = HostileProvider()
    bind(with_provider(console, ISSUER, made), ISSUER)
    return made


def test_the_provider_that_attacks_are_tried_with_lets_in_where_it_is_honest(
    console: Console, hostile: HostileProvider
) -> None:
    browser = console.stranger()

    assert hostile.visit(browser).status_code == 200
    assert is_in(browser)


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any]) -> str:
    head, body = (encoded(json.dumps(each).encode()) for each in ({"alg": "none"}, claims))
    return f"{head}.{body}."


def signed_with_the_public_key(claims: dict[str, Any]) -> str:
    """As if what everybody knows of the provider were a secret that both share."""
    head, body = (encoded(json.dumps(each).encode()) for each in ({"alg": "HS256", "kid": "one"}, claims))
    tag = hmac.new(KEY.as_pem(private=False), f"{head}.{body}".encode(), "sha256").digest()
    return f"{head}.{body}.{encoded(tag)}"


SIGNATURES: dict[str, Callable[[dict[str, Any]], str]] = {
    "unsigned token": unsigned,
    "key of somebody else": lambda claims: jwt.encode({"alg": "RS256", "kid": "one"}, claims, OTHER_KEY),
    "public key as a secret": signed_with_the_public_key,
    "altered body": lambda claims: ".".join(
        [
            *jwt.encode({"alg": "RS256", "kid": "one"}, {**claims, "sub": "x"}, KEY).split(".")[:2],
            jwt.encode({"alg": "RS256", "kid": "one"}, claims, KEY).split(".")[2],
        ]
    ),
    "no token at all": lambda _claims: "nothing",
}


@pytest.mark.parametrize("attack", SIGNATURES)
def test_a_token_that_the_provider_has_not_signed_opens_nothing(
    console: Console, hostile: HostileProvider, attack: str
) -> None:
    hostile.sign = SIGNATURES[attack]
    browser = console.stranger()

    assert hostile.visit(browser).status_code == 403
    assert not is_in(browser)


CLAIMS: dict[str, dict[str, Any]] = {
    "wrong nonce": {"nonce": "of another sign-in"},
    "no nonce": {"nonce": None},
    "nonce among others": {"nonce": ["a", "b"]},
    "wrong audience": {"aud": "another-client"},
    "no audience": {"aud": None},
    "shared audience, issued to another": {"aud": [CLIENT, "another"], "azp": "another"},
    "shared audience, issued to nobody": {"aud": [CLIENT, "another"]},
    "mix-up, token of another issuer": {"iss": "https://evil.example"},
    "expired": {"exp": int(time.time()) - 3600},
    "for ever": {"exp": None},
    "of the future": {"iat": int(time.time()) + 86_400},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "subject of another type": {"sub": 7},
}


@pytest.mark.parametrize("attack", CLAIMS)
def test_a_token_that_is_not_meant_for_this_sign_in_opens_nothing(
    console: Console, hostile: HostileProvider, attack: str
) -> None:
    hostile.claims = CLAIMS[attack]
    browser = console.stranger()

    assert hostile.visit(browser).status_code == 403
    assert not is_in(browser)


def test_mix_up_by_an_answer_of_another_issuer_is_in_vain(console: Console, hostile: HostileProvider) -> None:
    browser = console.stranger()

    assert hostile.visit(browser, iss="https://evil.example").status_code == 403
    assert not is_in(browser)


@pytest.mark.parametrize(
    "told",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://login.hospital.example/token"},
        {"jwks_uri": "http://192.0.2.1/keys"},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
def test_a_provider_whose_addresses_are_not_safe_is_not_gone_to(
    console: Console, hostile: HostileProvider, told: dict[str, str]
) -> None:
    hostile.metadata |= told

    assert console.stranger().get(ELSEWHERE).status_code == 403


@pytest.mark.parametrize(
    ("told", "opens"),
    [
        ({"email": "Ada@Hospital.example", "email_verified": True}, True),
        ({"email": "ada@hospital.example", "email_verified": False}, False),
        ({"email": "ada@hospital.example", "email_verified": "true"}, False),
        ({"email": "ada@hospital.example"}, False),
        ({"email": "ada@hospital.example.evil.example", "email_verified": True}, False),
    ],
)
def test_an_e_mail_opens_only_where_it_is_bound_and_the_provider_has_verified_it(
    console: Console, hostile: HostileProvider, told: dict[str, Any], opens: bool
) -> None:
    bind(console, ISSUER, claim=Claim.VERIFIED_EMAIL, value="ada@hospital.example")
    hostile.claims = {"sub": "unknown here", **told}
    browser = console.stranger()

    hostile.visit(browser)

    assert is_in(browser) is opens


def test_an_e_mail_that_is_not_bound_opens_nothing_for_whoever_has_a_subject(
    console: Console, hostile: HostileProvider
) -> None:
    hostile.claims = {"sub": "unknown here", "email": SUBJECT, "email_verified": True}
    browser = console.stranger()

    assert hostile.visit(browser).status_code == 403
    assert not is_in(browser)


@pytest.mark.parametrize(
    "issuer", ["http://login.hospital.example", "ftp://x", "login.hospital.example", "https://"]
)
def test_an_issuer_that_others_could_speak_for_is_no_setting(issuer: str) -> None:
    with pytest.raises(ValueError, match="https"):
        SingleSignOnSettings(issuer=issuer, client_id=CLIENT)


def test_what_a_provider_says_is_text_on_the_page(console: Console, hostile: HostileProvider) -> None:
    hostile.claims = {"sub": "<script>alert(1)</script>"}

    text = hostile.visit(console.stranger()).text

    assert "<script>alert" not in text
    assert html.escape("<script>alert(1)</script>") in text
    assert re.search(r"no-store", str(console.stranger().get("/sign-in").headers))
