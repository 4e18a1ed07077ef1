"""Staying a member: certificates are renewed long before they end, keys are exchanged when a person says so.

New keys are written before they are asked for, and become the site's with the membership file that names
them, in one step; what was before stays until the coordinator has accepted the new pair once. A reply that
was lost is asked for again with the same keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from dataclasses import replace
from importlib.metadata import version

from client.enrolment import Membership, names_in
from client.home import KeyFiles, SiteHome
from client.joining import note_keys
from client.standing import (
    CALL_TIMEOUT_S,
    RevokedCall,
    alone,
    calling,
    followed,
    is_member,
    note_anchors,
    revoked_error,
)
from client.store.audit import AuditLog
from client.store.ledger import Kind, Ledger
from client.store.opening import open_site_store
from shared.audit.events import KeysRotated, SiteRenewed
from shared.enrolment import renewal_pb2
from shared.enrolment.statement import PROTOCOL_VERSION, renewal_statement
from shared.errors import TrustError, UnreachableError
from shared.files import make_private_folder
from shared.trust.certificates import expires_at, is_for_key, issued_at, site_id_of
from shared.trust.chains import is_issued_by
from shared.trust.keys import NodeKey, SigningKey, TlsKey
from shared.trust.signing_request import new_csr

RENEW_AFTER = 2 / 3
"""Share of a certificate's life after which it is renewed."""

JITTER = 0.1


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


def is_under_older_root(membership: Membership) -> bool:
    """Whether the coordinator has another root since this site got its certificate."""
    return not is_issued_by(membership.certificate_pem, membership.anchors.root_pem)


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
    with alone(home):
        return _renew(home, rotate=False)


def rotate_keys(home: SiteHome, *, actor: str) -> Membership:
    """Renew the certificate, and exchange the signing key and the node key too; the site id stays.

    Raises as `renew` does.

    Parameters
    ----------
    actor
        Who asks for it, as the audit log names them.
    """
    with alone(home):
        if home.keys(home.membership().key_generation + 1).folder.exists():
            # The reply to an earlier renewal was lost: its keys may be in force already.
            _renew(home, rotate=False)
        return _renew(home, rotate=True, actor=actor)


def _renew(home: SiteHome, *, rotate: bool, actor: str | None = None) -> Membership:
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
    engine = open_site_store(home.folder)
    note_keys(Ledger(engine), Kind.RENEWAL, request.SerializeToString(), names_in(request))
    try:
        with calling(home, before) as stub:
            reply = stub.Renew(request, timeout=CALL_TIMEOUT_S)
    except RevokedCall as error:
        raise revoked_error() from error
    after = _checked(reply, before, tls_key)
    log, before_keys = AuditLog(engine), home.keys(before.key_generation)
    _tell(log, before.site_id, before_keys, keys, actor=actor or before.site_id)
    note_anchors(log, before, after)
    home.write_membership(after)
    with contextlib.suppress(UnreachableError):
        if is_member(home):
            _forget_before(home, after.key_generation)
    return after


def _tell(log: AuditLog, site_id: str, before: KeyFiles, after: KeyFiles, *, actor: str) -> None:
    """Write down which keys are replaced from now on."""
    now = time.time()
    signing, new_signing = (SigningKey.load(keys.signing).verify_key for keys in (before, after))
    node_changes = NodeKey.load(before.node).public != NodeKey.load(after.node).public
    renewed = SiteRenewed(
        subject=site_id, signing_key_changed=signing != new_signing, node_key_changed=node_changes
    )
    log.append(renewed, actor=actor, at=now)
    if signing != new_signing:
        rotated = KeysRotated(
            subject=site_id, purpose="signing", old_key_id=signing.key_id, new_key_id=new_signing.key_id
        )
        log.append(rotated, actor=actor, at=now)


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
    """The membership from now on, if the certificate is this site's, for the new key, under a believed root.

    Not always under the one of now: a reply that was lost may have been from before the root changed.
    """
    after, issued = followed(before, reply.statements), reply.certificate_pem
    is_ours = site_id_of(issued) == before.site_id and is_for_key(issued, tls_key.private.public_key())
    if not is_ours or not any(is_issued_by(issued, root_pem) for root_pem in after.anchors.roots_pem):
        raise TrustError(
            "The coordinator's reply does not hold together.",
            "Tell the coordinator; what this site has stays in force.",
        )
    return replace(
        after,
        certificate_pem=issued,
        key_generation=before.key_generation + 1,
        told_version=version("mammofed"),
    )
