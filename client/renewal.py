"""Staying a member: certificates are renewed long before they end, keys are exchanged when a person says so.

New keys are written before they are asked for, and become the site's with the membership file that names
them, in one step; what was before stays until the coordinator has accepted the new pair once. A reply that
was lost is asked for again with the same keys.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import grpc

from client.enrolment import Membership, check_clock
from client.home import KeyFiles, SiteHome
from shared.enrolment import renewal_pb2, renewal_pb2_grpc
from shared.enrolment.refusal import Refusal, refusal_error
from shared.enrolment.statement import PROTOCOL_VERSION, renewal_statement
from shared.errors import MammofedError, TrustError, UnreachableError
from shared.files import make_private_folder
from shared.transfer.rpc import REVOKED, open_channel, rejects_certificate
from shared.trust.certificates import (
    check_issued_by,
    expires_at,
    is_for_key,
    issued_at,
    new_csr,
    site_id_of,
)
from shared.trust.keys import NodeKey, SigningKey, TlsKey, VerifyKey
from shared.trust.tls import mutual_channel_credentials

RENEW_AFTER = 2 / 3
"""Share of a certificate's life after which it is renewed."""

JITTER = 0.1
CALL_TIMEOUT_S = 15.0


def jitter_of(site_id: str) -> float:
    """A site's own number between -`JITTER` and `JITTER`: sites that joined together renew apart."""
    drawn = int.from_bytes(hashlib.sha256(site_id.encode()).digest()[:8], "big") / 2**64
    return JITTER * (2 * drawn - 1)


def renewal_due(certificate_pem: bytes, *, now: float, jitter: float) -> bool:
    """Whether a certificate has lived two thirds of its life, more or less by the share `jitter` of them.

    Parameters
    ----------
    now
        Seconds since the Unix epoch.
    """
    start = issued_at(certificate_pem)
    return now >= start + RENEW_AFTER * (1 + jitter) * (expires_at(certificate_pem) - start)


def is_member(home: SiteHome) -> bool:
    """Whether the coordinator has this site for a member still; if not, asking again does not help.

    Raises
    ------
    UnreachableError
        It does not answer.
    TrustError
        It does not accept this site's certificate.
    """
    return _ask_standing(home) is not None


def check_standing(home: SiteHome) -> None:
    """Return only if this site is a member and its clock is near enough to the coordinator's.

    Raises
    ------
    UnreachableError
        The coordinator does not answer.
    TrustError
        It has revoked this site, does not accept its certificate, or the clocks differ too much.
    """
    if (ahead_s := _ask_standing(home)) is None:
        raise revoked_error()
    check_clock(ahead_s=ahead_s)


def _ask_standing(home: SiteHome) -> float | None:
    """By how many seconds this computer's clock is ahead; None if this site is no member any more."""
    try:
        with _calling(home, home.membership()) as stub:
            asked_at = time.time()
            reply = stub.Standing(renewal_pb2.StandingRequest(), timeout=CALL_TIMEOUT_S)
            answered_at = time.time()
    except _RevokedCall:
        return None
    return (asked_at + answered_at) / 2 - float(reply.server_time)


def revoked_error() -> TrustError:
    """What a person learns whose site is no member any more."""
    return TrustError(
        "This site was revoked by the coordinator.",
        "Call the coordinator; to take part again, join by a new invitation from a new home folder.",
    )


def renew(home: SiteHome) -> Membership:
    """Renew the certificate with a new TLS key; signing key and node key stay.

    Raises
    ------
    UnreachableError
        The coordinator does not answer; what is there stays in force.
    EnrolmentError, TrustError
        It refuses, or its reply does not hold together.
    StoreError
        The disk refused.
    """
    with _alone(home):
        return _renew(home, rotate=False)


def rotate_keys(home: SiteHome) -> Membership:
    """Renew the certificate, and exchange the signing key and the node key too; the site id stays.

    Raises as `renew` does.
    """
    with _alone(home):
        if home.keys(home.membership().key_generation + 1).folder.exists():
            # The reply to an earlier renewal was lost: its keys may be in force already.
            _renew(home, rotate=False)
        return _renew(home, rotate=True)


def _renew(home: SiteHome, *, rotate: bool) -> Membership:
    before = home.membership()
    keys = _next_keys(home, before, rotate=rotate)
    tls_key, signing_key, node_key = (
        TlsKey.load(keys.tls),
        SigningKey.load(keys.signing),
        NodeKey.load(keys.node),
    )
    request = renewal_pb2.RenewRequest(
        protocol_version=PROTOCOL_VERSION,
        csr_pem=new_csr(tls_key),
        signing_public_key=signing_key.verify_key.raw,
        node_public_key=node_key.public.text,
        software_version=version("mammofed"),
    )
    statement = renewal_statement(request, site_id=before.site_id)
    request.signing_key_proof = signing_key.sign(statement)
    request.node_key_proof = node_key.sign(statement)
    request.signature = SigningKey.load(home.keys(before.key_generation).signing).sign(statement)
    try:
        with _calling(home, before) as stub:
            reply = stub.Renew(request, timeout=CALL_TIMEOUT_S)
    except _RevokedCall as error:
        raise revoked_error() from error
    after = _checked(reply, before, tls_key)
    home.write_membership(after)
    with contextlib.suppress(UnreachableError):
        if is_member(home):
            _forget_before(home, after.key_generation)
    return after


def _next_keys(home: SiteHome, membership: Membership, *, rotate: bool) -> KeyFiles:
    """The keys to ask with: those of an attempt whose reply was lost, or new ones."""
    kept, following = home.keys(membership.key_generation), home.keys(membership.key_generation + 1)
    if following.folder.exists():
        return following
    making = KeyFiles(following.folder.with_suffix(".making"))
    make_private_folder(making.folder)
    TlsKey.generate().save(making.tls)
    (SigningKey.generate() if rotate else SigningKey.load(kept.signing)).save(making.signing)
    (NodeKey.generate() if rotate else NodeKey.load(kept.node)).save(making.node)
    making.folder.rename(following.folder)
    return following


def _forget_before(home: SiteHome, generation: int) -> None:
    """Remove the private keys of the generations before this one."""
    for file in (home.keys(0).tls, home.keys(0).signing, home.keys(0).node):
        file.unlink(missing_ok=True)
    for earlier in range(1, generation):
        shutil.rmtree(home.keys(earlier).folder, ignore_errors=True)


def _checked(reply: renewal_pb2.RenewReply, before: Membership, tls_key: TlsKey) -> Membership:
    """The membership from now on, if the certificate is this site's, for the new key, under the new root."""
    if not reply.root_pem or not reply.coordinator_signing_public_key:
        raise _does_not_hold()
    check_issued_by(reply.certificate_pem, reply.root_pem[0])
    named = site_id_of(reply.certificate_pem) == before.site_id
    if not named or not is_for_key(reply.certificate_pem, tls_key.private.public_key()):
        raise _does_not_hold()
    return replace(
        before,
        certificate_pem=reply.certificate_pem,
        root_pem=b"".join(reply.root_pem),
        coordinator_key=VerifyKey(reply.coordinator_signing_public_key[0]),
        key_generation=before.key_generation + 1,
    )


class _RevokedCall(Exception):  # noqa: N818 - an answer, no error
    """The coordinator has answered a call by saying that the site is no member any more."""


@contextlib.contextmanager
def _alone(home: SiteHome) -> Iterator[None]:
    """Keep a second renewal of this home waiting: the service's and a person's."""
    with Path(home.folder, ".renewal.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _calling(home: SiteHome, membership: Membership) -> Iterator[renewal_pb2_grpc.RenewalStub]:
    """A stub over mutual TLS; errors of calls become errors for persons."""
    if expires_at(membership.certificate_pem) < time.time():
        raise TrustError(
            "This site's certificate has expired.",
            "Ask the coordinator for a new invitation, and join with it from a new home folder.",
        )
    credentials = mutual_channel_credentials(
        root_pem=membership.root_pem,
        certificate_pem=membership.certificate_pem,
        key=TlsKey.load(home.keys(membership.key_generation).tls),
    )
    with open_channel(membership.transfer_address, credentials) as channel:
        try:
            yield renewal_pb2_grpc.RenewalStub(channel)  # type: ignore[no-untyped-call]
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.PERMISSION_DENIED and error.details() == REVOKED:
                raise _RevokedCall from error
            raise _as_error(error) from error


def _as_error(error: grpc.RpcError) -> MammofedError:
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return TrustError(
            "The coordinator does not accept this site's certificate.",
            "If a copy of this home is running elsewhere, stop it and tell the coordinator; else join anew.",
        )
    if code is grpc.StatusCode.FAILED_PRECONDITION and details in set(Refusal):
        return refusal_error(Refusal(details))
    if rejects_certificate(error):
        return TrustError(
            "The server's certificate is not of this federation, not for this host, or out of date.",
            "Check the address, this computer's clock, and for a TLS-inspecting proxy in between.",
        )
    return UnreachableError(
        "The coordinator does not answer.", "Check the network and that the coordinator is running."
    )


def _does_not_hold() -> TrustError:
    return TrustError(
        "The coordinator's reply does not hold together.",
        "Tell the coordinator; what this site has stays in force.",
    )
