"""Invitation tokens: what a person may do to one, and that none of them prints its secret by accident."""

import pytest

from shared.enrolment.refusal import Refusal, refusal_error
from shared.enrolment.token import InvitationToken, Secret, hash_secret
from shared.errors import TokenError

FINGERPRINT = bytes(range(32)).hex()


def token(**changes):
    fields = {
        "host": "coordinator.example.org",
        "port": 9093,
        "root_fingerprint": FINGERPRINT,
        "site_name": "Universitätsklinik",
        "secret": Secret(bytes(range(32, 64))),
    }
    return InvitationToken(**(fields | changes))


@pytest.mark.parametrize("changes", [{}, {"site_name": None}, {"host": "2001:db8::1", "port": 1}])
def test_a_token_comes_back_from_its_text(changes):
    original = token(**changes)

    assert InvitationToken.parse(original.reveal()).reveal() == original.reveal()
    parsed = InvitationToken.parse(original.reveal())
    assert (parsed.host, parsed.port, parsed.root_fingerprint) == (
        original.host,
        original.port,
        original.root_fingerprint,
    )
    assert parsed.site_name == original.site_name
    assert parsed.secret == original.secret


def test_a_token_is_one_printable_word_that_begins_with_its_version():
    text = token().reveal()

    assert text.startswith("mf1_")
    assert all(character.isalnum() or character in "-_" for character in text)


def test_line_breaks_and_spaces_of_a_mail_program_do_no_harm():
    text = token().reveal()

    assert InvitationToken.parse(f"  {text[:40]}\r\n {text[40:]}\n").secret == token().secret


def test_every_mistyped_character_is_told_from_a_wrong_token():
    text = token().reveal()

    for position in range(len("mf1_"), len(text)):
        spoiled = text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]
        with pytest.raises(TokenError, match="mistyped"):
            InvitationToken.parse(spoiled)


def test_every_cut_token_is_mistyped():
    text = token().reveal()

    for length in range(len("mf1_"), len(text)):
        with pytest.raises(TokenError, match="mistyped"):
            InvitationToken.parse(text[:length])


@pytest.mark.parametrize("text", ["", "hello", "mf_", "MF1_abc", "mf1-abc", "ä"])
def test_something_else_is_no_token(text):
    with pytest.raises(TokenError, match="not an invitation token"):
        InvitationToken.parse(text)


def test_a_token_of_a_newer_version_says_so():
    with pytest.raises(TokenError, match="another version"):
        InvitationToken.parse("mf2_" + token().reveal()[4:])


@pytest.mark.parametrize(
    "changes",
    [
        {"host": ""},
        {"host": "two words"},
        {"host": "x" * 256},
        {"port": 0},
        {"port": 65_536},
        {"root_fingerprint": "00"},
        {"root_fingerprint": "zz" * 32},
        {"root_fingerprint": FINGERPRINT.upper()},
        {"site_name": ""},
        {"site_name": "x" * 256},
    ],
)
def test_an_impossible_invitation_is_not_made(changes):
    with pytest.raises(TokenError):
        token(**changes)


def test_neither_a_secret_nor_its_token_prints_it():
    secret = Secret.generate()
    shown = f"{secret} {secret!r} {token(secret=secret)} {token(secret=secret)!r}"

    assert "****" in shown
    assert secret.reveal().hex() not in shown
    assert repr(secret.reveal()) not in shown


def test_a_secret_is_kept_under_a_hash_of_its_own_domain():
    secret = Secret(bytes(32))

    # printf 'mammofed invitation secret v1\0' and 32 zero bytes | sha256sum
    assert hash_secret(secret) == "2591ff1eef10da69578b3971f3e0f482c890bb7811c175798dde76a140e537e0"
    assert hash_secret(secret) != hash_secret(Secret(bytes(31) + b"\x01"))


def test_two_secrets_differ_and_none_is_short():
    assert Secret.generate() != Secret.generate()
    with pytest.raises(TokenError):
        Secret(bytes(31))


def test_every_reason_to_refuse_has_its_own_sentence():
    messages = {refusal_error(refusal).message for refusal in Refusal}

    assert len(messages) == len(Refusal)
