"""What a joining site signs with its new keys to prove that it holds them."""

from __future__ import annotations

from shared.enrolment import enrolment_pb2
from shared.enrolment.token import Secret, hash_secret

PROTOCOL_VERSION = 1

_DOMAIN = b"mammofed enrolment statement v1"


def possession_statement(request: enrolment_pb2.EnrolRequest) -> bytes:
    """All of the request but the proofs, each field after its length (8 bytes, big-endian).

    The secret enters as its hash. Protobuf's own bytes are not used: they are not canonical
    (protobuf.dev, "Proto Serialization Is Not Canonical").

    Raises
    ------
    TokenError
        The secret is not 32 bytes long.
    """
    fields = (
        _DOMAIN,
        str(request.protocol_version).encode(),
        hash_secret(Secret(request.secret)).encode(),
        request.csr_pem,
        request.signing_public_key,
        request.node_public_key.encode(),
        request.software_version.encode(),
    )
    return b"".join(len(field).to_bytes(8, "big") + field for field in fields)
