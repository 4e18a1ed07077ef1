"""Joining a federation: from an invitation and freshly made keys to a membership."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from google.protobuf.message import Message

from shared.display_name import is_display_name
from shared.enrolment import enrolment_pb2, enrolment_pb2_grpc
from shared.enrolment.refusal import Refusal, refusal_error
from shared.enrolment.statement import PROTOCOL_VERSION, possession_statement
from shared.enrolment.token import InvitationToken
from shared.errors import EnrolmentError, TrustError, UnreachableError
from shared.proxy import Proxy
from shared.transfer.rpc import open_channel, rejects_certificate
from shared.trust.anchors import Anchors
from shared.trust.certificates import fingerprint, is_for_key, site_id_of
from shared.trust.chains import check_issued_by
from shared.trust.keys import NodeKey, SigningKey, TlsKey
from shared.trust.signing_request import new_csr
from shared.trust.tls import enrolment_channel_credentials, fetch_root, join_address

MOST_AHEAD_S = 4.0
MOST_BEHIND_S = 240.0
"""Flower refuses a node whose signed time is 5 s in the future or 305 s in the past; less a margin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What a site knows once it has joined; nothing of it is secret.

    Attributes
    ----------
    certificate_pem
        The site's own, issued by a root of the anchors.
    anchors
        What the coordinator is believed by; its first root is at first the one that the invitation pinned.
    fleet_address, transfer_address
        `host:port`.
    key_generation
        Which of the home's private keys go with it; grows with each renewal.
    told_version
        The software version that the coordinator was told last.
    """

    site_id: str
    site_name: str
    certificate_pem: bytes
    anchors: Anchors
    coordinator_name: str
    fleet_address: str
    transfer_address: str
    key_generation: int = 0
    told_version: str = ""


def enrol(
    token: InvitationToken,
    *,
    signing_key: SigningKey,
    tls_key: TlsKey,
    node_key: NodeKey,
    software_version: str,
    on_leaving: Callable[[bytes, tuple[str, ...]], None],
    proxy: Proxy | None = None,
    timeout_s: float = 30.0,
) -> Membership | None:
    """Redeem an invitation; nothing is written. None while the coordinator has yet to approve the keys.

    Save the keys before: after a lost reply, asking again with the same token and keys gets the same
    certificate, while other keys are refused.

    Parameters
    ----------
    on_leaving
        Given the request and the names of what it holds, before it is sent.

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
        The server's certificate is not valid for this host or time, its clock and this computer's differ too
        much, or its reply does not hold together.
    """
    root_pem = fetch_root(token.host, token.port, token.root_fingerprint, proxy=proxy, timeout_s=timeout_s)
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
    on_leaving(request.SerializeToString(), names_in(request))
    credentials = enrolment_channel_credentials(root_pem=root_pem)
    with open_channel(join_address(token.host, token.port), credentials, proxy) as channel:
        stub = enrolment_pb2_grpc.EnrolmentStub(channel)  # type: ignore[no-untyped-call]
        asked_at = time.time()
        try:
            reply = stub.Enrol(request, timeout=timeout_s)
        except grpc.RpcError as error:
            if error.details() == Refusal.PENDING:
                return None
            raise _as_error(error) from error
        answered_at = time.time()
    check_clock(ahead_s=(asked_at + answered_at) / 2 - reply.server_time)
    return _checked(reply, token=token, tls_key=tls_key, told_version=software_version)


def names_in(request: Message) -> tuple[str, ...]:
    """Names of the fields that a request holds, as the ledger has them."""
    return tuple(field.name for field, _ in request.ListFields())


def check_clock(*, ahead_s: float) -> None:
    """Return only if this computer's clock is near enough to the coordinator's for its node to be heard.

    Raises
    ------
    TrustError
        It is not; the message says by how much.
    """
    if ahead_s > MOST_AHEAD_S or ahead_s < -MOST_BEHIND_S:
        direction = "ahead of" if ahead_s > 0 else "behind"
        raise TrustError(
            f"This computer's clock is {abs(ahead_s):.0f} seconds {direction} the coordinator's.",
            "Set it, best by NTP on both sides, and run the command again.",
        )


def _checked(
    reply: enrolment_pb2.EnrolReply, *, token: InvitationToken, tls_key: TlsKey, told_version: str
) -> Membership:
    """The membership, if the root is the pinned one, the certificate ours, the names fit to show."""
    anchors = Anchors.from_bytes(reply.anchors)
    check_issued_by(reply.certificate_pem, anchors.root_pem)
    if (
        fingerprint(anchors.root_pem) != token.root_fingerprint
        or site_id_of(reply.certificate_pem) != reply.site_id
        or not is_for_key(reply.certificate_pem, tls_key.private.public_key())
        or not is_display_name(reply.coordinator_name)
        or not is_display_name(reply.site_name)
    ):
        raise TrustError(
            "The coordinator's reply does not hold together.",
            "Tell the coordinator; this site has not joined.",
        )
    return Membership(
        site_id=reply.site_id,
        site_name=reply.site_name,
        certificate_pem=reply.certificate_pem,
        anchors=anchors,
        coordinator_name=reply.coordinator_name,
        fleet_address=reply.fleet_address,
        transfer_address=reply.transfer_address,
        told_version=told_version,
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
