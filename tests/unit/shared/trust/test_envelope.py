"""Signed envelopes: DSSE's own test vector, and every way to tamper with one."""

import base64
import dataclasses
import json

import pytest

from shared.errors import TamperedError, TrustError
from shared.trust.envelope import MAX_ENVELOPE_BYTES, Envelope, sign, verify
from shared.trust.keys import SigningKey

KIND = "application/vnd.mammofed.test.v1+json"


@pytest.fixture(scope="module")
def key():
    return SigningKey.generate()


def test_what_is_signed_is_the_pre_authentication_encoding_of_dsse(key):
    # protocol.md of DSSE v1: type "http://example.com/HelloWorld" (29 bytes), body "hello world" (11).
    envelope = sign("http://example.com/HelloWorld", b"hello world", key)

    key.verify_key.verify(envelope.signature, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world")


@pytest.mark.parametrize("payload", [b"", b"{}", bytes(range(256))])
def test_a_payload_comes_back_through_bytes(payload, key):
    content = sign(KIND, payload, key).to_bytes()

    assert verify(Envelope.from_bytes(content), KIND, key.verify_key) == payload


def test_the_same_input_gives_the_same_bytes(key):
    assert sign(KIND, b"x", key).to_bytes() == sign(KIND, b"x", key).to_bytes()


def test_every_flipped_byte_is_refused(key):
    content = sign(KIND, b'{"round": 3}', key).to_bytes()

    for position in range(len(content)):
        spoiled = bytearray(content)
        spoiled[position] ^= 1
        with pytest.raises(TrustError):
            verify(Envelope.from_bytes(bytes(spoiled)), KIND, key.verify_key)


def test_type_confusion_is_refused(key):
    envelope = sign("application/vnd.mammofed.announcement.v1+json", b"{}", key)

    with pytest.raises(TrustError):
        verify(envelope, KIND, key.verify_key)
    with pytest.raises(TamperedError):
        verify(dataclasses.replace(envelope, payload_type=KIND), KIND, key.verify_key)


def test_a_strangers_signature_is_refused_even_under_the_expected_key_id(key):
    stranger = SigningKey.generate()
    forged = sign(KIND, b"{}", stranger)

    with pytest.raises(TrustError, match="another key"):
        verify(forged, KIND, key.verify_key)
    with pytest.raises(TamperedError):
        verify(dataclasses.replace(forged, key_id=key.verify_key.key_id), KIND, key.verify_key)


def test_moving_a_byte_between_type_and_payload_is_refused(key):
    envelope = sign("ab", b"c", key)

    with pytest.raises(TamperedError):
        verify(dataclasses.replace(envelope, payload_type="a", unverified_payload=b"bc"), "a", key.verify_key)


def test_other_spellings_of_the_same_envelope_are_refused(key):
    content = sign(KIND, b"{}", key).to_bytes()
    document = json.loads(content)
    signature = document["signatures"][0]

    spellings = [
        json.dumps(document).encode(),
        content + b"\n",
        content.replace(b'"payload":', b'"payload":"e30=","payload":', 1),
        _canonical({**document, "extra": 1}),
        _canonical({**document, "signatures": [signature, signature]}),
        _canonical({**document, "signatures": []}),
        _canonical({**document, "payloadType": 7}),
        _canonical({**document, "signatures": [{**signature, "keyid": 7}]}),
        _canonical({**document, "payload": base64.b64encode(b"{}").decode().rstrip("=")}),
    ]

    for spelling in spellings:
        with pytest.raises(TamperedError):
            Envelope.from_bytes(spelling)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"7", b"null", b'"x"', b"\xff\xfe", b"{}", b"[" * 100_000], ids=range(8)
)
def test_what_is_no_envelope_is_one_clear_error(content):
    with pytest.raises(TamperedError):
        Envelope.from_bytes(content)


def test_an_oversized_envelope_is_neither_made_nor_read(key):
    envelope = sign(KIND, bytes(MAX_ENVELOPE_BYTES), key)

    with pytest.raises(TrustError):
        envelope.to_bytes()
    with pytest.raises(TamperedError):
        Envelope.from_bytes(b" " * (MAX_ENVELOPE_BYTES + 1))


def _canonical(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
