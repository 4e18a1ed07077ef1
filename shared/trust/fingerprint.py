"""A short name for a site's keys that two persons can compare by telephone."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.trust.keys import NodePublicKey, VerifyKey

_DOMAIN = b"mammofed site keys v1"


def fingerprint_of_keys(
    *, tls_key: ec.EllipticCurvePublicKey, signing_key: VerifyKey, node_key: NodePublicKey
) -> str:
    """SHA-256 of a site's public keys, in groups of four hex digits, to be read out on the telephone."""
    tls_der = tls_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(joined(_DOMAIN, tls_der, signing_key.raw, node_key.text.encode())).hexdigest()
    return " ".join(digest[start : start + 4] for start in range(0, len(digest), 4))


def same_fingerprint(typed: str, shown: str) -> bool:
    """Whether a person has typed this fingerprint, whatever the grouping and case."""
    return "".join(typed.split()).replace(":", "").lower() == shown.replace(" ", "")


def joined(*fields: bytes) -> bytes:
    """Each field after its length (8 bytes, big-endian).

    Protobuf's own bytes are not used: they are not canonical (protobuf.dev, "Proto Serialization Is Not
    Canonical").
    """
    return b"".join(len(field).to_bytes(8, "big") + field for field in fields)
