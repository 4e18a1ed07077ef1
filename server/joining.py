"""How a hospital comes into the federation: invited, and let in by hand where that was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from server.coordinator import Coordinator, identity_of
from server.home import CoordinatorHome
from shared.enrolment.token import InvitationToken, Secret, hash_secret
from shared.errors import ConfigError
from shared.identifiers import SITE_NAME, new_site_id
from shared.trust.certificates import fingerprint as fingerprint_of
from shared.trust.fingerprint import same_fingerprint

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What a hospital is handed; `token` prints masked and is kept nowhere.

    Attributes
    ----------
    expires_at
        Seconds since the Unix epoch.
    """

    token: InvitationToken
    expires_at: float


def invite(
    home: CoordinatorHome,
    coordinator: Coordinator,
    name: str,
    *,
    days: float,
    by_hand: bool,
    now: float,
    actor: str,
) -> Invitation:
    """Invite a hospital.

    Parameters
    ----------
    days
        How long the invitation is valid.
    by_hand
        A person approves the keys that come with it.

    Raises
    ------
    ConfigError
        The name is unusable, or a site of this name is enrolled.
    """
    if not SITE_NAME.fullmatch(name):
        raise ConfigError("That cannot be a site's name.", "Use a-z, 0-9 and hyphens, at most 63.")
    host, port = home.settings().enrolment
    token = InvitationToken(
        host=host,
        port=port,
        root_fingerprint=fingerprint_of(home.root_certificate_file.read_bytes()),
        site_name=name,
        secret=Secret.generate(),
    )
    expires_at = now + days * DAY_S
    coordinator.federation.invite(
        secret_hash=hash_secret(token.secret),
        site_id=new_site_id(),
        site_name=name,
        now=now,
        expires_at=expires_at,
        actor=actor,
        by_hand=by_hand,
    )
    return Invitation(token=token, expires_at=expires_at)


def approve(
    home: CoordinatorHome,
    coordinator: Coordinator,
    name: str,
    *,
    fingerprint: str,
    now: float,
    actor: str,
) -> None:
    """Let a hospital in that waits, with the keys of this fingerprint alone.

    Parameters
    ----------
    fingerprint
        As the hospital has told it, in any grouping.

    Raises
    ------
    NotFoundError
        No hospital of this name waits.
    ConfigError
        Its keys have another fingerprint, or another site took its name.
    """
    keys = coordinator.applications.get(name).keys
    if not same_fingerprint(fingerprint, keys.fingerprint):
        raise ConfigError(
            "The keys that wait have another fingerprint.",
            "If the hospital reads out what you gave, somebody else used its invitation: reject the site.",
        )
    identity = identity_of(home)
    coordinator.applications.approve(
        name,
        fingerprint=keys.fingerprint,
        issue=lambda approved, site_id: identity.issue(approved.csr_pem, site_id, now=now),
        now=now,
        actor=actor,
    )
