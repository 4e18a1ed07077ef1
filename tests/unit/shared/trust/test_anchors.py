"""What a coordinator is believed by: followed from change to change, and moved by nobody else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from shared.errors import TamperedError, TrustError
from shared.trust.anchors import ANCHORS_TYPE, Anchors, RetiredKey, follow
from shared.trust.envelope import sign
from shared.trust.issuing import new_root, new_root_after
from shared.trust.keys import SigningKey, TlsKey

NOW = 1_900_000_000.0
FIRST, SECOND, THIRD, THIEF = (SigningKey.generate() for _ in range(4))
ROOT_PEM = new_root(federation_name="Test", key=TlsKey.generate(), now=NOW)
NEW_ROOT_PEM = new_root_after(ROOT_PEM, key=TlsKey.generate(), now=NOW)

FOUNDED = Anchors(roots_pem=(ROOT_PEM,), signing_key=FIRST.verify_key)
KEY_CHANGED = FOUNDED.with_signing_key(SECOND.verify_key, now=NOW)
ROOT_CHANGED = KEY_CHANGED.with_root(NEW_ROOT_PEM)
ROOT_RETIRED = ROOT_CHANGED.with_current_root_alone()
STATEMENTS = [KEY_CHANGED.signed(FIRST), ROOT_CHANGED.signed(SECOND), ROOT_RETIRED.signed(SECOND)]


@pytest.mark.parametrize("anchors", [FOUNDED, KEY_CHANGED, ROOT_CHANGED, ROOT_RETIRED])
def test_anchors_survive_being_written(anchors: Anchors) -> None:
    assert Anchors.from_bytes(anchors.to_bytes()) == anchors


@pytest.mark.parametrize("known", [FOUNDED, KEY_CHANGED, ROOT_CHANGED, ROOT_RETIRED])
def test_a_site_follows_from_whatever_version_it_has_to_the_one_of_now(known: Anchors) -> None:
    assert follow(known, STATEMENTS) == ROOT_RETIRED


def test_after_each_change_just_those_roots_and_that_key_are_believed() -> None:
    assert KEY_CHANGED.roots_pem == (ROOT_PEM,)
    assert KEY_CHANGED.retired_keys == (RetiredKey(key=FIRST.verify_key, retired_at=NOW),)
    assert (ROOT_CHANGED.root_pem, ROOT_CHANGED.bundle_pem) == (NEW_ROOT_PEM, NEW_ROOT_PEM + ROOT_PEM)
    assert ROOT_RETIRED.roots_pem == (NEW_ROOT_PEM,)
    assert ROOT_RETIRED.signing_key == SECOND.verify_key


def test_a_coordinator_that_was_set_back_to_a_backup_moves_nobody_back() -> None:
    assert follow(ROOT_CHANGED, STATEMENTS[:1]) == ROOT_CHANGED


@pytest.mark.parametrize("signer", [SECOND, THIEF], ids=["the new key itself", "a thief"])
def test_a_change_that_the_key_before_has_not_signed_is_refused(signer: SigningKey) -> None:
    with pytest.raises(TrustError, match="another key"):
        follow(FOUNDED, [KEY_CHANGED.signed(signer)])


def test_a_thief_who_claims_the_name_of_the_key_before_is_refused() -> None:
    envelope = replace(sign(ANCHORS_TYPE, KEY_CHANGED.to_bytes(), THIEF), key_id=FIRST.verify_key.key_id)

    with pytest.raises(TamperedError):
        follow(FOUNDED, [envelope.to_bytes()])


def test_a_thief_of_a_retired_key_moves_nobody_who_knows_that_it_is_retired() -> None:
    stolen = FIRST
    moved = ROOT_RETIRED.with_signing_key(THIEF.verify_key, now=NOW)

    with pytest.raises(TrustError, match="another key"):
        follow(ROOT_RETIRED, [*STATEMENTS, moved.signed(stolen)])


def test_a_statement_that_is_played_again_as_the_next_one_is_refused() -> None:
    with pytest.raises(TrustError, match="does not follow"):
        follow(ROOT_RETIRED, [*STATEMENTS, STATEMENTS[1]])


def test_a_change_that_was_left_out_is_missed() -> None:
    with pytest.raises(TrustError, match="does not follow"):
        follow(KEY_CHANGED, [STATEMENTS[0], STATEMENTS[2]])


@pytest.mark.parametrize(
    "rewritten",
    [
        replace(ROOT_CHANGED, retired_keys=()),
        replace(ROOT_CHANGED, retired_keys=(RetiredKey(key=FIRST.verify_key, retired_at=NOW + 1),)),
        replace(ROOT_CHANGED, signing_key=THIRD.verify_key),
        replace(ROOT_CHANGED, signing_key=THIRD.verify_key, retired_keys=()),
        replace(
            KEY_CHANGED.with_signing_key(THIRD.verify_key, now=NOW),
            retired_keys=(RetiredKey(key=SECOND.verify_key, retired_at=NOW),),
        ),
        replace(
            KEY_CHANGED.with_signing_key(THIRD.verify_key, now=NOW),
            retired_keys=(*KEY_CHANGED.retired_keys, RetiredKey(key=THIEF.verify_key, retired_at=NOW)),
        ),
    ],
    ids=["forgotten", "retired later", "unmentioned", "none", "first forgotten", "another retired"],
)
def test_a_change_that_rewrites_which_keys_there_were_is_refused(rewritten: Anchors) -> None:
    with pytest.raises(TrustError, match="does not follow"):
        follow(KEY_CHANGED, [STATEMENTS[0], rewritten.signed(SECOND)])


def test_what_the_right_key_signed_for_another_use_is_no_statement() -> None:
    announcement = sign("application/vnd.mammofed.announcement+json", KEY_CHANGED.to_bytes(), FIRST)

    with pytest.raises(TrustError, match="another kind"):
        follow(FOUNDED, [announcement.to_bytes()])


def document(**changes: object) -> bytes:
    return json.dumps({**json.loads(KEY_CHANGED.to_bytes()), **changes}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        document(version=0),
        document(version="2"),
        document(roots=[]),
        document(roots=["-----BEGIN CERTIFICATE-----"]),
        document(roots=[ROOT_PEM.decode() + NEW_ROOT_PEM.decode()]),
        document(signing_key="00" * 31),
        document(signing_key="zz" * 32),
        document(retired_keys=[{"key": "00" * 32, "retired_at": "NaN"}]),
        document(retired_keys=[{"key": "00" * 32}]),
        document(more=1),
    ],
)
def test_a_signed_statement_of_another_form_is_refused_and_nothing_leaks(content: bytes) -> None:
    with pytest.raises(TrustError):
        follow(FOUNDED, [sign(ANCHORS_TYPE, content, FIRST).to_bytes()])
