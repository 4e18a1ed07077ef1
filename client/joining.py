"""Joining a federation: keys made here, a membership kept here."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from client.enrolment import Membership, enrol
from client.home import SiteHome
from shared.enrolment.token import InvitationToken
from shared.errors import HomeError
from shared.files import write_file
from shared.flower.bundle import build_bundle, bundle_sha256
from shared.trust.keys import NodeKey, SigningKey, TlsKey

AnyKey = TypeVar("AnyKey", SigningKey, TlsKey, NodeKey)


def join(home: SiteHome, token: InvitationToken) -> Membership:
    """Join the federation that a token invites to.

    Keys are saved before they are used, so that an attempt whose reply was lost can be repeated.

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
    membership = enrol(
        token,
        signing_key=_kept(home.signing_key_file, SigningKey.load, SigningKey.generate),
        tls_key=_kept(home.tls_key_file, TlsKey.load, TlsKey.generate),
        node_key=_kept(home.node_key_file, NodeKey.load, NodeKey.generate),
        software_version=version("mammofed"),
    )
    write_file(home.runtime_secret_file, secrets.token_bytes(32))
    approved = (
        f"# SHA-256 of approved bundles\n{bundle_sha256(build_bundle())}  mammofed {version('mammofed')}\n"
    )
    write_file(home.approved_bundles_file, approved.encode())
    home.write_membership(membership)
    return membership


def _kept(file: Path, load: Callable[[Path], AnyKey], generate: Callable[[], AnyKey]) -> AnyKey:
    if not file.exists():
        generate().save(file)
    return load(file)
