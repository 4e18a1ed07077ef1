"""Asking the coordinator how this site stands with it, and what the coordinator is to be believed by."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import grpc

from client.enrolment import Membership, check_clock
from client.home import SiteHome
from client.store.audit import AuditLog
from client.store.opening import open_site_store
from shared.audit.events import KeysRotated
from shared.enrolment import renewal_pb2, renewal_pb2_grpc
from shared.enrolment.refusal import Refusal, refusal_error
from shared.errors import MammofedError, TrustError, UnreachableError, VersionError
from shared.transfer.rpc import REVOKED, open_channel, rejects_certificate
from shared.trust.anchors import Anchors, follow
from shared.trust.certificates import expires_at, fingerprint
from shared.trust.keys import TlsKey
from shared.trust.tls import mutual_channel_credentials
from shared.versions import fit

CALL_TIMEOUT_S = 15.0
KEY_ID_DIGITS = 16
MAX_VERSION_LENGTH = 32


class RevokedCall(Exception):  # noqa: N818 - an answer, no error
    """The coordinator has answered a call by saying that the site is no member any more."""


def is_member(home: SiteHome) -> bool:
    """Whether the coordinator has this site for a member still; if not, asking again does not help.

    Raises
    ------
    UnreachableError
        It does not answer.
    TrustError
        It does not accept this site's certificate.
    """
    try:
        _ask(home)
    except RevokedCall:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a member learns by asking.

    Attributes
    ----------
    clock_ahead_s
        By how much this computer's clock is ahead of the coordinator's.
    coordinator_version
        Of its software; empty if it does not tell.
    """

    clock_ahead_s: float
    coordinator_version: str


def ask_standing(home: SiteHome) -> Standing:
    """Ask the coordinator, which has this site for a member.

    Raises
    ------
    UnreachableError
        The coordinator does not answer.
    TrustError
        It has revoked this site, or does not accept its certificate.
    """
    try:
        asked_at = time.time()
        reply = _ask(home)
    except RevokedCall as error:
        raise revoked_error() from error
    return Standing(
        clock_ahead_s=(asked_at + time.time()) / 2 - reply.server_time,
        coordinator_version=reply.software_version[:MAX_VERSION_LENGTH],
    )


def check_standing(home: SiteHome) -> None:
    """Return only if this site is a member, and clock and version are near enough to the coordinator's.

    Raises
    ------
    UnreachableError
        The coordinator does not answer.
    TrustError
        It has revoked this site, does not accept its certificate, or clocks or versions differ too much.
    """
    standing = ask_standing(home)
    check_clock(ahead_s=standing.clock_ahead_s)
    check_version(standing)


def check_version(standing: Standing) -> str:
    """How this site's version fits the coordinator's, in words.

    Raises
    ------
    VersionError
        They are too far apart.
    """
    own, other = version("mammofed"), standing.coordinator_version
    found = fit(own, other)
    words = f"this site {own}, the coordinator {other or '?'}: {found.value}"
    if not found.is_good:
        raise VersionError(f"Versions: {words}.", "Update the older side; until then it may refuse to work.")
    return words


def learn(home: SiteHome) -> bool:
    """Ask as `is_member` does, and believe the coordinator from now on by what it has stated since.

    Raises
    ------
    UnreachableError, TrustError
        As `is_member` does, or the statements do not follow from what is believed; that stays as it is.
    StoreError
        The disk refused.
    """
    with alone(home):
        try:
            reply = _ask(home)
        except RevokedCall:
            return False
        before = home.membership()
        if (after := followed(before, reply.statements)) != before:
            note_anchors(AuditLog(open_site_store(home.folder)), before, after)
            home.write_membership(after)
    return True


def followed(membership: Membership, statements: Sequence[bytes]) -> Membership:
    """The membership under the anchors that the coordinator's statements lead to. Raises TrustError."""
    return replace(membership, anchors=follow(membership.anchors, statements))


def note_anchors(log: AuditLog, before: Membership, after: Membership) -> None:
    """Write down that this site is about to believe the coordinator by another signing key or root."""
    told = {
        "signing": (before.anchors.signing_key.key_id, after.anchors.signing_key.key_id),
        "root": (_root_id(before.anchors), _root_id(after.anchors)),
    }
    for purpose, (old, new) in told.items():
        if old != new:
            event = KeysRotated(subject="coordinator", purpose=purpose, old_key_id=old, new_key_id=new)
            log.append(event, actor=after.site_id, at=time.time())


def _root_id(anchors: Anchors) -> str:
    return fingerprint(anchors.root_pem)[:KEY_ID_DIGITS]


class RevokedError(TrustError):
    """The coordinator has answered that this site is no member any more."""


def revoked_error() -> RevokedError:
    """What a person learns whose site is no member any more."""
    return RevokedError(
        "This site was revoked by the coordinator.",
        "Call the coordinator; to take part again, join by a new invitation from a new home folder.",
    )


@contextlib.contextmanager
def alone(home: SiteHome) -> Iterator[None]:
    """Keep a second change of this home's membership waiting: the service's and a person's.

    Raises
    ------
    HomeError
        The site has not joined.
    """
    home.membership()
    with Path(home.folder, ".renewal.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def calling(home: SiteHome, membership: Membership) -> Iterator[renewal_pb2_grpc.RenewalStub]:
    """A stub over mutual TLS; errors of calls become errors for persons, a revocation `RevokedCall`."""
    if expires_at(membership.certificate_pem) < time.time():
        raise TrustError(
            "This site's certificate has expired.",
            "Ask the coordinator for a new invitation, and join with it from a new home folder.",
        )
    credentials = mutual_channel_credentials(
        root_pem=membership.anchors.bundle_pem,
        certificate_pem=membership.certificate_pem,
        key=TlsKey.load(home.keys(membership.key_generation).tls),
    )
    with open_channel(membership.transfer_address, credentials, home.proxy()) as channel:
        try:
            yield renewal_pb2_grpc.RenewalStub(channel)  # type: ignore[no-untyped-call]
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.PERMISSION_DENIED and error.details() == REVOKED:
                raise RevokedCall from error
            raise _as_error(error) from error


def _ask(home: SiteHome) -> renewal_pb2.StandingReply:
    with calling(home, home.membership()) as stub:
        reply: renewal_pb2.StandingReply = stub.Standing(
            renewal_pb2.StandingRequest(), timeout=CALL_TIMEOUT_S
        )
    return reply


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
