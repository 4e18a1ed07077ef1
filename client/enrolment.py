"""Joining a federation: from an invitation and freshly made keys to a membership."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from shared.enrolment import enrolment_pb2, enrolment_pb2_grpc
from shared.enrolment.refusal import Refusal, refusal_error
from shared.enrolment.statement import PROTOCOL_VERSION, possession_statement
from shared.enrolment.token import InvitationToken
from shared.errors import EnrolmentError, TrustError, UnreachableError
from shared.transfer.rpc import open_channel, rejects_certificate
from shared.trust.certificates import check_issued_by, fingerprint, is_for_key, new_csr, site_id_of
from shared.trust.keys import NodeKey, SigningKey, TlsKey, VerifyKey
from shared.trust.tls import enrolment_channel_credentials, fetch_root, join_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a site knows once it has joined; nothing of it is secret.

    Attributes
    ----------
    certificate_pem
        The site's own, issued by `root_pem`, which is the root that the invitation pinned.
    coordinator_key
        Verifies every envelope of the coordinator.
    fleet_address, transfer_address
        `host:port`.
    """

    site_id: str
    site_name: str
    certificate_pem: bytes
    root_pem: bytes
    coordinator_name: str
    coordinator_key: VerifyKey
    fleet_address: str
    transfer_address: str


def enrol(
    token: InvitationToken,
    *,
    signing_key: SigningKey,
    tls_key: TlsKey,
    node_key: NodeKey,
    software_version: str,
    timeout_s: float = 30.0,
) -> Membership:
    """Redeem an invitation; nothing is written.

    Save the keys before: after a lost reply, asking again with the same token and keys gets the same
    certificate, while other keys are refused.

    Raises
    ------
    UnreachableError
        Nothing answers at the token's address, or the call breaks.
    FingerprintError
        The server is not of the federation that the token names; the secret was not sent.
    TokenError
        The invitation is unknown, used, expired or withdrawn.
    EnrolmentError
        The coordinator refuses for another reason.
    TrustError
        The server's certificate is not valid for this host or time, or its reply does not hold together.
    """
    root_pem = fetch_root(token.host, token.port, token.root_fingerprint, timeout_s=timeout_s)
    request = enrolment_pb2.EnrolRequest(
        protocol_version=PROTOCOL_VERSION,
        secret=token.secret.reveal(),
        csr_pem=new_csr(tls_key),
        signing_public_key=signing_key.verify_key.raw,
        node_public_key=node_key.public.text,
        software_version=software_version,
    )
    statement = possession_statement(request)
    request.signing_key_proof = signing_key.sign(statement)
    request.node_key_proof = node_key.sign(statement)
    credentials = enrolment_channel_credentials(root_pem=root_pem)
    with open_channel(join_address(token.host, token.port), credentials) as channel:
        stub = enrolment_pb2_grpc.EnrolmentStub(channel)  # type: ignore[no-untyped-call]
        try:
            reply = stub.Enrol(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise _as_error(error) from error
    return _checked(reply, token=token, tls_key=tls_key)


def _checked(reply: enrolment_pb2.EnrolReply, *, token: InvitationToken, tls_key: TlsKey) -> Membership:
    """The membership, if the root is the pinned one and the certificate is ours, under it."""
    check_issued_by(reply.certificate_pem, reply.root_pem)
    if (
        fingerprint(reply.root_pem) != token.root_fingerprint
        or site_id_of(reply.certificate_pem) != reply.site_id
        or not is_for_key(reply.certificate_pem, tls_key.private.public_key())
    ):
        raise TrustError(
            "The coordinator's reply does not hold together.",
            "Tell the coordinator; this site has not joined.",
        )
    return Membership(
        site_id=reply.site_id,
        site_name=reply.site_name,
        certificate_pem=reply.certificate_pem,
        root_pem=reply.root_pem,
        coordinator_name=reply.coordinator_name,
        coordinator_key=VerifyKey(reply.coordinator_signing_public_key),
        fleet_address=reply.fleet_address,
        transfer_address=reply.transfer_address,
    )


def _as_error(error: grpc.RpcError) -> EnrolmentError | TrustError:
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.FAILED_PRECONDITION and details in set(Refusal):
        return refusal_error(Refusal(details))
    if rejects_certificate(error):
        return TrustError(
            "The coordinator's certificate is not valid for this host or at this time.",
            "Check this computer's clock, and that the invitation names the host of the certificate.",
        )
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return UnreachableError(
            "The connection to the coordinator broke while joining.",
            "Join again with the same invitation and the same keys.",
        )
    return EnrolmentError(
        "The coordinator could not complete the enrolment.",
        "Join again with the same invitation and keys; if it recurs, ask the coordinator to read its log.",
    )
