"""Signed envelopes: bytes of a stated type under one Ed25519 signature.

After DSSE v1 (Dead Simple Signing Envelope, secure-systems-lab/dsse, protocol.md): the signature covers
the type and the payload through the pre-authentication encoding, so that a payload signed for one use is
refused for another. Narrower than DSSE: exactly one signature, and one canonical JSON form.

Order of use: `Envelope.from_bytes` (framing only), `verify`, and only then parse the payload.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from shared.errors import TamperedError, TrustError
from shared.trust.keys import SigningKey, VerifyKey

MAX_ENVELOPE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload, its type and a signature over both; not verified by being constructed.

    Attributes
    ----------
    payload_type
        What the payload is and which version of it, as a media type.
    key_id
        `VerifyKey.key_id` that the sender claims; a hint, not a proof.
    """

    payload_type: str
    unverified_payload: bytes
    key_id: str
    signature: bytes

    def to_bytes(self) -> bytes:
        """The canonical JSON form: sorted keys, no white space, ASCII.

        Raises
        ------
        TrustError
            It is larger than `MAX_ENVELOPE_BYTES`.
        """
        content = self._canonical()
        if len(content) > MAX_ENVELOPE_BYTES:
            raise TrustError("A signed document is larger than 4 MiB.", "Sign a digest of its content.")
        return content

    def _canonical(self) -> bytes:
        document = {
            "payload": base64.b64encode(self.unverified_payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": self.key_id, "sig": base64.b64encode(self.signature).decode()}],
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Envelope:
        """Read the framing; the payload stays opaque.

        Raises
        ------
        TamperedError
            Too large, not an envelope, or not in the canonical form.
        """
        if len(content) > MAX_ENVELOPE_BYTES:
            raise _malformed()
        try:
            document = json.loads(content)
            (signature,) = document["signatures"]
            envelope = cls(
                payload_type=document["payloadType"],
                unverified_payload=base64.b64decode(document["payload"], validate=True),
                key_id=signature["keyid"],
                signature=base64.b64decode(signature["sig"], validate=True),
            )
        except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
            raise _malformed() from error
        named = isinstance(envelope.payload_type, str) and isinstance(envelope.key_id, str)
        if not named or envelope._canonical() != content:
            raise _malformed()
        return envelope


def sign(payload_type: str, payload: bytes, key: SigningKey) -> Envelope:
    """Sign a payload for one use."""
    return Envelope(
        payload_type=payload_type,
        unverified_payload=payload,
        key_id=key.verify_key.key_id,
        signature=key.sign(_pre_authentication_encoding(payload_type, payload)),
    )


def verify(envelope: Envelope, payload_type: str, key: VerifyKey) -> bytes:
    """The payload, if it was signed as this type by this key.

    Checks, in this order: 1. the type; 2. the key's name; 3. the signature.

    Raises
    ------
    TrustError
        It is of another type or names another key.
    TamperedError
        The signature does not fit.
    """
    # 1.
    if envelope.payload_type != payload_type:
        raise TrustError(
            "A signed document is of another kind than expected.",
            "Check that both sides run the same version of mammofed.",
        )
    # 2.
    if envelope.key_id != key.key_id:
        raise TrustError(
            "A document is signed by another key than expected.",
            "Ask its sender for the current public key, by a second way such as the telephone.",
        )
    # 3.
    key.verify(envelope.signature, _pre_authentication_encoding(payload_type, envelope.unverified_payload))
    return envelope.unverified_payload


def _pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """PAE of DSSE v1: `DSSEv1 SP LEN(type) SP type SP LEN(body) SP body`, lengths in ASCII decimal."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _malformed() -> TamperedError:
    return TamperedError(
        "A signed document is malformed.", "Fetch it again; report it to its sender if it recurs."
    )
