"""Checkpoints, from their own side and from others."""

from __future__ import annotations

import json

import pytest

from shared.audit.checkpoints import (
    CHECKPOINT_TYPE,
    Checkpoint,
    Contradiction,
    contradiction,
    open_checkpoint,
    sign_checkpoint,
)
from shared.errors import TamperedError, TrustError
from shared.trust.envelope import Envelope, sign
from shared.trust.keys import SigningKey

KEY = SigningKey.generate()
CHECKPOINT = Checkpoint(side="site-a", sequence=7, head="a" * 64, at_ms=1000)


def test_a_checkpoint_is_what_its_side_signed() -> None:
    travelled = Envelope.from_bytes(sign_checkpoint(CHECKPOINT, KEY).to_bytes())

    assert open_checkpoint(travelled, of="site-a", key=KEY.verify_key) == CHECKPOINT


def test_a_forged_checkpoint_is_refused() -> None:
    honest = sign_checkpoint(CHECKPOINT, KEY)
    by_eve = sign_checkpoint(CHECKPOINT, SigningKey.generate())
    payload = honest.unverified_payload.replace(b'"sequence":7', b'"sequence":6')
    forged = Envelope(
        payload_type=honest.payload_type,
        unverified_payload=payload,
        key_id=honest.key_id,
        signature=honest.signature,
    )
    claimed = Envelope(
        payload_type=by_eve.payload_type,
        unverified_payload=by_eve.unverified_payload,
        key_id=honest.key_id,
        signature=by_eve.signature,
    )

    with pytest.raises(TrustError):
        open_checkpoint(by_eve, of="site-a", key=KEY.verify_key)
    for envelope in (forged, claimed):
        with pytest.raises(TamperedError):
            open_checkpoint(envelope, of="site-a", key=KEY.verify_key)


def test_a_checkpoint_of_another_sides_log_is_refused_though_well_signed() -> None:
    of_another = sign_checkpoint(CHECKPOINT.model_copy(update={"side": "site-b"}), KEY)

    with pytest.raises(TrustError, match="another side"):
        open_checkpoint(of_another, of="site-a", key=KEY.verify_key)


def test_another_signed_document_is_no_checkpoint() -> None:
    document = sign("application/vnd.mammofed.contribution+json", CHECKPOINT.model_dump_json().encode(), KEY)

    with pytest.raises(TrustError):
        open_checkpoint(document, of="site-a", key=KEY.verify_key)


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": -1},
        {"sequence": True},
        {"sequence": 2**53},
        {"sequence": "7"},
        {"head": "A" * 64},
        {"head": "a" * 64 + "\n"},
        {"side": "../site-a"},
        {"more": 1},
    ],
)
def test_a_signed_checkpoint_of_another_form_is_refused(change: dict[str, object]) -> None:
    payload = json.dumps({**CHECKPOINT.model_dump(), **change}).encode()

    with pytest.raises(TrustError):
        open_checkpoint(sign(CHECKPOINT_TYPE, payload, KEY), of="site-a", key=KEY.verify_key)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"sequence": 8, "head": "b" * 64, "at_ms": 2000}, None),
        ({"at_ms": 2000}, None),
        ({"head": "b" * 64}, Contradiction.FORKED),
        ({"sequence": 6, "head": "b" * 64, "at_ms": 1001}, Contradiction.CUT),
        ({"sequence": 6, "head": "b" * 64, "at_ms": 999}, None),
    ],
    ids=["grown", "unchanged", "forked", "cut", "old and late"],
)
def test_checkpoints_contradict_only_if_both_cannot_be_true(
    change: dict[str, object], expected: Contradiction | None
) -> None:
    assert contradiction([CHECKPOINT], CHECKPOINT.model_copy(update=change)) is expected
    assert contradiction([], CHECKPOINT.model_copy(update=change)) is None
