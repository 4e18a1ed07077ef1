"""Joining a federation: keys made here, a membership kept here."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from client.enrolment import Membership, enrol
from client.home import SiteHome
from client.store.audit import AuditLog
from client.store.ledger import Kind, Ledger, LedgerEntry, Rule
from client.store.opening import open_site_store
from shared.audit.events import SiteJoined
from shared.enrolment.token import InvitationToken
from shared.errors import HomeError
from shared.files import write_file
from shared.flower.bundle import build_bundle, bundle_sha256
from shared.transfer.blob_ref import BlobRef
from shared.trust.fingerprint import fingerprint_of_keys
from shared.trust.keys import NodeKey, SigningKey, TlsKey

APPROVAL_POLL_S = 3.0

AnyKey = TypeVar("AnyKey", SigningKey, TlsKey, NodeKey)


def join(
    home: SiteHome,
    token: InvitationToken,
    *,
    actor: str,
    on_waiting: Callable[[str], None] = lambda _fingerprint: None,
) -> Membership:
    """Join the federation that a token invites to; waits where the coordinator approves by hand.

    Keys are saved before they are used, so that an attempt whose reply was lost, or whose waiting was broken
    off, can be repeated.

    Parameters
    ----------
    actor
        Who joins, as the audit log names them.
    on_waiting
        Called once with the fingerprint of this site's keys if there is an approval to wait for.

    Raises
    ------
    HomeError
        The site has joined already.
    EnrolmentError, TrustError
        See `client.enrolment.enrol`.
    """
    if home.has_joined():
        raise HomeError(
            "This site has joined a federation already.", "Use another home folder for another federation."
        )
    signing_key = _kept(home.signing_key_file, SigningKey.load, SigningKey.generate)
    tls_key = _kept(home.tls_key_file, TlsKey.load, TlsKey.generate)
    node_key = _kept(home.node_key_file, NodeKey.load, NodeKey.generate)
    engine = open_site_store(home.folder)
    ask = partial(
        enrol,
        token,
        signing_key=signing_key,
        tls_key=tls_key,
        node_key=node_key,
        software_version=version("mammofed"),
        proxy=home.proxy(),
        on_leaving=partial(note_keys, Ledger(engine), Kind.ENROLMENT),
    )
    if (membership := ask()) is None:
        on_waiting(
            fingerprint_of_keys(
                tls_key=tls_key.private.public_key(),
                signing_key=signing_key.verify_key,
                node_key=node_key.public,
            )
        )
        while (membership := ask()) is None:
            time.sleep(APPROVAL_POLL_S)
    write_file(home.runtime_secret_file, secrets.token_bytes(32))
    approved = (
        f"# SHA-256 of approved bundles\n{bundle_sha256(build_bundle())}  mammofed {version('mammofed')}\n"
    )
    write_file(home.approved_bundles_file, approved.encode())
    joined = SiteJoined(
        subject=membership.site_id,
        site_name=membership.site_name,
        root_fingerprint=token.root_fingerprint,
    )
    AuditLog(engine).append(joined, actor=actor, at=time.time())
    home.write_membership(membership)
    return membership


def note_keys(ledger: Ledger, kind: Kind, request: bytes, names: tuple[str, ...]) -> None:
    """Write down that public keys leave, to join or to renew."""
    blob = BlobRef.of(request)
    entry = LedgerEntry(
        kind=kind, rule=Rule.PUBLIC_KEYS, names=names, size_bytes=blob.size_bytes, sha256=blob.digest
    )
    ledger.append(entry, at=time.time())


def _kept(file: Path, load: Callable[[Path], AnyKey], generate: Callable[[], AnyKey]) -> AnyKey:
    if not file.exists():
        generate().save(file)
    return load(file)
