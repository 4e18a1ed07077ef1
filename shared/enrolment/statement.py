"""What a site signs with its keys: that it holds them, and that it wants to have them from now on."""

from __future__ import annotations

from shared.enrolment import enrolment_pb2, renewal_pb2
from shared.enrolment.token import Secret, hash_secret
from shared.trust.fingerprint import joined

PROTOCOL_VERSION = 1

_ENROLMENT = b"mammofed enrolment statement v1"
_RENEWAL = b"mammofed renewal statement v1"


def possession_statement(request: enrolment_pb2.EnrolRequest) -> bytes:
    """All of a joining site's request but the proofs; the secret enters as its hash.

    Raises
    ------
    TokenError
        The secret is not 32 bytes long.
    """
    return joined(
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
    return joined(
        _RENEWAL,
        str(request.protocol_version).encode(),
        site_id.encode(),
        request.csr_pem,
        request.signing_public_key,
        request.node_public_key.encode(),
        request.software_version.encode(),
    )
