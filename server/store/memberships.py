"""What becomes of an enrolled site: its keys and certificate are renewed, and it may be revoked.

A site has one current identity (certificate and signing key) and, after a renewal, the one before it, so that
a lost reply locks nobody out. The one before ends when the current certificate was used to move a blob; its
signing key then vouches for nothing but answers to what was announced before the renewal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select, update

from server.lifecycle import SITE_TRANSITIONS, SiteState, require_transition
from server.store.audit import append
from server.store.federation import Site, to_site
from server.store.schema import site
from shared.audit.events import SiteRenewed, SiteRevoked
from shared.errors import NotFoundError, TrustError
from shared.store import transaction
from shared.trust.certificates import fingerprint, is_for_key
from shared.trust.keys import NodePublicKey, VerifyKey
from shared.trust.signing_request import check_csr


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewedKeys:
    """The public keys that a site has from now on; those that stay are the same as before.

    Attributes
    ----------
    csr_pem
        Signing request of the new TLS key.
    """

    csr_pem: bytes
    signing_key: VerifyKey
    node_key: NodePublicKey
    software_version: str


class Memberships:
    """The register of what enrolled sites are known by."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, site_id: str) -> Site:
        """A site by its id. Raises NotFoundError."""
        with transaction(self._engine) as connection:
            return _load(connection, site_id)

    def revoke(self, site_name: str, *, reason: str | None, now: float, actor: str) -> Site:
        """End a site's membership; returns it as it was, with the node that is to be unregistered.

        Raises
        ------
        NotFoundError
            No site has this name.
        AggregationError
            It is revoked already.
        """
        with transaction(self._engine) as connection:
            row = connection.execute(select(site).where(site.c.name == site_name)).mappings().one_or_none()
            if row is None:
                raise NotFoundError(
                    f"No site is named '{site_name}'.", "`mammofed-coordinator site list` shows all."
                )
            known = to_site(row)
            require_transition(SITE_TRANSITIONS, known.state, SiteState.REVOKED)
            connection.execute(
                update(site)
                .where(site.c.site_id == known.site_id)
                .values(state=SiteState.REVOKED, node_id=None, next_node_id=None)
            )
            event = SiteRevoked(subject=known.site_id, site_name=site_name, reason=reason)
            append(connection, event, actor=actor, at=now)
        return known

    def accepts(self, site_id: str, certificate_pem: bytes) -> bool:
        """Whether a certificate is the site's current one, or the one before while that is not in use."""
        return self._see(site_id, certificate_pem) is not None

    def use(self, site_id: str, certificate_pem: bytes) -> bool:
        """As `accepts`, for moving blobs: the current certificate, once used, ends the one before it."""
        known = self._see(site_id, certificate_pem)
        if known is None:
            return False
        if known.previous_certificate_pem is not None and _is_same(known.certificate_pem, certificate_pem):
            self._note(known, previous_certificate_pem=None)
        return True

    def _see(self, site_id: str, certificate_pem: bytes) -> Site | None:
        """The site that shows a certificate; None if it is none that the site has now."""
        known = self.get(site_id)
        if _signing_key_beside(known, certificate_pem) is None:
            return None
        if not known.certificate_seen and _is_same(known.certificate_pem, certificate_pem):
            self._note(known, certificate_seen=True)
        return known

    def _note(self, known: Site, **values: bool | None) -> None:
        """Record something of a site's current certificate, unless there is another one meanwhile."""
        unchanged = (site.c.site_id == known.site_id, site.c.certificate_pem == known.certificate_pem)
        with transaction(self._engine) as connection:
            connection.execute(update(site).where(*unchanged).values(**values))

    def signing_keys(self, site_id: str, *, announced_at: float) -> tuple[VerifyKey, ...]:
        """The keys with which a site may sign its answer to what was announced then, the current first."""
        known = self.get(site_id)
        keys = [VerifyKey(known.signing_public_key)]
        in_use = known.previous_certificate_pem is not None or announced_at <= (known.renewed_at or 0)
        if known.previous_signing_public_key is not None and in_use:
            keys.append(VerifyKey(known.previous_signing_public_key))
        return tuple(dict.fromkeys(keys))

    def renew(
        self,
        site_id: str,
        *,
        presented_pem: bytes,
        keys: RenewedKeys,
        check: Callable[[VerifyKey], None],
        issue: Callable[[], bytes],
        now: float,
    ) -> bytes:
        """Give a site a new certificate, in one transaction with its new keys; returns the certificate.

        Asked again with the same keys it returns the same certificate: the reply was lost on the way.

        Parameters
        ----------
        presented_pem
            The certificate that the site has shown.
        check
            Returns only if the request is signed by this key: the one that goes with what was presented.
        issue
            Makes the certificate (PEM); called within the transaction, at most once.

        Raises
        ------
        TrustError
            The site is not active, what it presented is none of its certificates, or `check` says no.
        """
        with transaction(self._engine) as connection:
            # Taking the write lock before reading keeps two renewals of one site apart.
            connection.execute(update(site).where(site.c.site_id == site_id).values(site_id=site_id))
            known = _load(connection, site_id)
            signing_key = _signing_key_beside(known, presented_pem)
            if known.state is not SiteState.ACTIVE or signing_key is None:
                raise TrustError("A certificate is not one that this site has now.", "Join again.")
            check(signing_key)
            if _is_recorded(known, keys):
                return known.certificate_pem
            certificate_pem = issue()
            node_changes = keys.node_key.text != known.node_public_key
            known_next = keys.node_key.text == known.next_node_public_key and known.next_node_id is not None
            connection.execute(
                update(site)
                .where(site.c.site_id == site_id)
                .values(
                    certificate_pem=certificate_pem,
                    signing_public_key=keys.signing_key.raw,
                    software_version=keys.software_version,
                    renewed_at=now,
                    certificate_seen=False,
                    previous_certificate_pem=presented_pem,
                    previous_signing_public_key=signing_key.raw,
                    next_node_public_key=keys.node_key.text if node_changes else None,
                    next_node_id=str(known.next_node_id) if known_next else None,
                )
            )
            event = SiteRenewed(
                subject=site_id,
                signing_key_changed=keys.signing_key != signing_key,
                node_key_changed=node_changes,
            )
            append(connection, event, actor=site_id, at=now)
        return certificate_pem

    def set_next_node_id(self, site_id: str, node_id: int) -> None:
        """Record the Flower node of the node key that the site is about to use."""
        with transaction(self._engine) as connection:
            connection.execute(
                update(site).where(site.c.site_id == site_id).values(next_node_id=str(node_id))
            )

    def move_to_next_node(self, site_id: str) -> None:
        """The site's next node is online: from now on it is the site's node."""
        with transaction(self._engine) as connection:
            known = _load(connection, site_id)
            assert known.next_node_public_key is not None and known.next_node_id is not None
            connection.execute(
                update(site)
                .where(site.c.site_id == site_id)
                .values(
                    node_public_key=known.next_node_public_key,
                    node_id=str(known.next_node_id),
                    next_node_public_key=None,
                    next_node_id=None,
                )
            )


def _load(connection: Connection, site_id: str) -> Site:
    row = connection.execute(select(site).where(site.c.site_id == site_id)).mappings().one_or_none()
    if row is None:
        raise NotFoundError("No site has this id.", "`mammofed-coordinator site list` shows all.")
    return to_site(row)


def _signing_key_beside(known: Site, presented_pem: bytes) -> VerifyKey | None:
    """The signing key that a site has beside a certificate of its own; None for any other certificate."""
    if _is_same(known.certificate_pem, presented_pem):
        return VerifyKey(known.signing_public_key)
    if known.previous_certificate_pem is not None and _is_same(known.previous_certificate_pem, presented_pem):
        assert known.previous_signing_public_key is not None  # set together
        return VerifyKey(known.previous_signing_public_key)
    return None


def _is_same(one_pem: bytes, other_pem: bytes) -> bool:
    return fingerprint(one_pem) == fingerprint(other_pem)


def _is_recorded(known: Site, keys: RenewedKeys) -> bool:
    return (
        is_for_key(known.certificate_pem, check_csr(keys.csr_pem))
        and known.signing_public_key == keys.signing_key.raw
        and keys.node_key.text in {known.node_public_key, known.next_node_public_key}
    )
