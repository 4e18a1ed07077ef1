"""The coordinator's commands about sites: what a person types, and what stays as it was when they err."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from server.cli import app
from server.coordinator import Coordinator
from server.enrolment import SiteKeys
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from shared.enrolment.refusal import Refusal
from shared.enrolment.token import InvitationToken, hash_secret
from shared.errors import ConfigError, MammofedError, NotFoundError
from shared.trust.certificates import expires_at, is_for_key
from shared.trust.keys import NodeKey, SigningKey, TlsKey
from shared.trust.signing_request import new_csr

DAY_S = 86_400


@pytest.fixture
def home(tmp_path: Path) -> CoordinatorHome:
    home = CoordinatorHome(tmp_path)
    found(home, CoordinatorSettings(name="Test", site_certificate_days=3), now=time.time(), actor="test")
    return home


def call(home: CoordinatorHome, *arguments: str, typed: str | None = None) -> Any:
    """The JSON that a command prints last. Raises the error that it would show."""
    done = CliRunner().invoke(
        app, ["site", *arguments, "--home", str(home.folder), "--json"], input=typed, catch_exceptions=True
    )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.strip().splitlines()[-1])


TLS_KEY = TlsKey.generate()


def apply(home: CoordinatorHome, token_text: str) -> SiteKeys:
    """What the enrolment service does for a hospital that uses its token."""
    keys = SiteKeys(
        csr_pem=new_csr(TLS_KEY),
        signing_key=SigningKey.generate().verify_key,
        node_key=NodeKey.generate().public,
        software_version="0.1.0",
    )
    said = Coordinator.open(home).federation.enrol(
        secret_hash=hash_secret(InvitationToken.parse(token_text).secret),
        now=time.time(),
        keys=keys,
        issue=lambda _site_id: b"",
    )
    assert said is Refusal.PENDING
    return keys


@pytest.fixture
def waiting(home: CoordinatorHome) -> SiteKeys:
    return apply(home, call(home, "invite", "aarhus", "--approve-by-hand")["token"])


def states(home: CoordinatorHome) -> dict[str, str]:
    return {row["name"]: row["state"] for row in call(home, "list")}


def test_a_waiting_hospital_is_listed_as_such(home: CoordinatorHome, waiting: SiteKeys) -> None:
    assert states(home) == {"aarhus": "pending"}


@pytest.mark.parametrize("form", ["{0}", "{1}", "{2}"], ids=["as shown", "without spaces", "in capitals"])
def test_a_fingerprint_may_be_typed_in_any_grouping_and_case(
    home: CoordinatorHome, waiting: SiteKeys, form: str
) -> None:
    shown = waiting.fingerprint

    call(
        home,
        "approve",
        "aarhus",
        "--fingerprint",
        form.format(shown, shown.replace(" ", ""), shown.upper().replace(" ", ":")),
    )

    assert states(home) == {"aarhus": "active"}


def test_an_approved_hospital_gets_a_certificate_for_its_own_key_of_the_length_that_is_set(
    home: CoordinatorHome, waiting: SiteKeys
) -> None:
    call(home, "approve", "aarhus", "--fingerprint", waiting.fingerprint)

    (site,) = Coordinator.open(home).federation.active()
    assert is_for_key(site.certificate_pem, TLS_KEY.private.public_key())
    assert expires_at(site.certificate_pem) == pytest.approx(time.time() + 3 * DAY_S, abs=60)
    assert site.signing_public_key == waiting.signing_key.raw


def test_a_fingerprint_that_differs_in_one_digit_approves_nobody(
    home: CoordinatorHome, waiting: SiteKeys
) -> None:
    last = waiting.fingerprint[-1]
    wrong = waiting.fingerprint[:-1] + ("0" if last != "0" else "1")

    with pytest.raises(ConfigError, match="another fingerprint"):
        call(home, "approve", "aarhus", "--fingerprint", wrong)

    assert states(home) == {"aarhus": "pending"}


@pytest.mark.parametrize(("typed", "state"), [("y\n", "active"), ("n\n", "pending")])
def test_without_a_fingerprint_a_person_is_asked_and_only_yes_is_yes(
    home: CoordinatorHome, waiting: SiteKeys, typed: str, state: str
) -> None:
    try:
        call(home, "approve", "aarhus", typed=typed)
    except ConfigError as error:
        assert error.message == "The site was not approved."

    assert states(home) == {"aarhus": state}


def test_a_rejected_hospital_is_gone_from_the_list_and_cannot_be_approved(
    home: CoordinatorHome, waiting: SiteKeys
) -> None:
    call(home, "reject", "aarhus")

    assert states(home) == {}
    with pytest.raises(NotFoundError):
        call(home, "approve", "aarhus", "--fingerprint", waiting.fingerprint)


def test_revoking_ends_an_active_hospital_alone_and_once(home: CoordinatorHome, waiting: SiteKeys) -> None:
    with pytest.raises(NotFoundError):
        call(home, "revoke", "aarhus")
    call(home, "approve", "aarhus", "--fingerprint", waiting.fingerprint)

    call(home, "revoke", "aarhus", "--reason", "left the study")

    assert states(home) == {"aarhus": "revoked"}
    with pytest.raises(MammofedError):
        call(home, "revoke", "aarhus")


def test_a_withdrawn_invitation_is_counted_and_cannot_be_withdrawn_again(home: CoordinatorHome) -> None:
    for _ in range(2):
        call(home, "invite", "aarhus")

    assert call(home, "withdraw", "aarhus") == {"site": "aarhus", "withdrawn": 2}
    with pytest.raises(NotFoundError):
        call(home, "withdraw", "aarhus")


@pytest.mark.parametrize("days", [0, 398])
def test_a_certificates_life_outside_what_browsers_and_auditors_accept_is_refused(
    home: CoordinatorHome, days: int
) -> None:
    text = home.settings_file.read_text()
    home.settings_file.write_text(
        text.replace("site_certificate_days = 3", f"site_certificate_days = {days}")
    )

    with pytest.raises(ConfigError, match="site_certificate_days"):
        home.settings()
