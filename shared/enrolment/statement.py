"""What a site signs with its keys: that it holds them, and that it wants to have them from now on."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.enrolment import enrolment_pb2, renewal_pb2
from shared.enrolment.token import Secret, hash_secret
from shared.trust.keys import NodePublicKey, VerifyKey

PROTOCOL_VERSION = 1

_ENROLMENT = b"mammofed enrolment statement v1"
_RENEWAL = b"mammofed renewal statement v1"
_KEYS = b"mammofed site keys v1"


def possession_statement(request: enrolment_pb2.EnrolRequest) -> bytes:
    """All of a joining site's request but the proofs; the secret enters as its hash.

    Raises
    ------
    TokenError
        The secret is not 32 bytes long.
    """
    return _joined(
        _ENROLMENT,
        str(request.protocol_version).encode(),
        hash_secret(Secret(request.secret)).encode(),
        request.csr_pem,
        request.signing_public_key,
        request.node_public_key.encode(),
        request.software_version.encode(),
    )


def renewal_statement(request: renewal_pb2.RenewRequest, *, site_id: str) -> bytes:
    """All of a renewing site's request but the proofs and the signature, for this site alone."""
    return _joined(
        _RENEWAL,
        str(request.protocol_version).encode(),
        site_id.encode(),
        request.csr_pem,
        request.signing_public_key,
        request.node_public_key.encode(),
        request.software_version.encode(),
    )


def fingerprint_of_keys(
    *, tls_key: ec.EllipticCurvePublicKey, signing_key: VerifyKey, node_key: NodePublicKey
) -> str:
    """SHA-256 of a site's public keys, in groups of four hex digits, to be read out on the telephone."""
    tls_der = tls_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(_joined(_KEYS, tls_der, signing_key.raw, node_key.text.encode())).hexdigest()
    return " ".join(digest[start : start + 4] for start in range(0, len(digest), 4))


def same_fingerprint(typed: str, shown: str) -> bool:
    """Whether a person has typed this fingerprint, whatever the grouping and case."""
    return "".join(typed.split()).replace(":", "").lower() == shown.replace(" ", "")


def _joined(*fields: bytes) -> bytes:
    """Each field after its length (8 bytes, big-endian).

    Protobuf's own bytes are not used: they are not canonical (protobuf.dev, "Proto Serialization Is Not
    Canonical").
    """
    return b"".join(len(field).to_bytes(8, "big") + field for field in fields)
