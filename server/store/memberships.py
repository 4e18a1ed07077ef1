"""What becomes of an enrolled site: its keys and certificate are renewed, and it may be revoked.

A site has one current identity (certificate and signing key) and, after a renewal, the one before it, so that
a lost reply locks nobody out. The earlier certificate is refused once the current one was used to move a
blob; the earlier signing key then vouches for nothing but answers to what was announced before the renewal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select, update

from server.lifecycle import SITE_TRANSITIONS, SiteState, require_transition
from server.store.events import append_event
from server.store.federation import Site, to_site
from server.store.schema import site
from shared.errors import NotFoundError, TrustError
from shared.store import transaction
from shared.trust.certificates import check_csr, fingerprint, is_for_key
from shared.trust.keys import NodePublicKey, VerifyKey


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

    def revoke(self, site_name: str, *, reason: str, now: float, actor: str) -> Site:
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
            append_event(
                connection,
                at=now,
                actor=actor,
                name="site.revoked",
                subject=known.site_id,
                site_name=site_name,
                reason=reason,
            )
        return known

    def accepts(self, site_id: str, certificate_pem: bytes) -> bool:
        """Whether a certificate is the site's current one, or the one before while that is not in use."""
        with transaction(self._engine) as connection:
            return _signing_key_beside(_load(connection, site_id), certificate_pem) is not None

    def use(self, site_id: str, certificate_pem: bytes) -> bool:
        """As `accepts`, for moving blobs: the current certificate, once used, ends the one before it."""
        with transaction(self._engine) as connection:
            known = _load(connection, site_id)
            if _signing_key_beside(known, certificate_pem) is None:
                return False
            replaced = known.previous_certificate_pem is not None
            if replaced and _is_same(known.certificate_pem, certificate_pem):
                connection.execute(
                    update(site).where(site.c.site_id == site_id).values(previous_certificate_pem=None)
                )
        return True

    def signing_keys(self, site_id: str, *, announced_at: float) -> tuple[VerifyKey, ...]:
        """The keys with which a site may sign its answer to what was announced then, the current first."""
        known = self.get(site_id)
        keys = [VerifyKey(known.signing_public_key)]
        if known.previous_signing_public_key is not None and announced_at <= (known.renewed_at or 0):
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
                    previous_certificate_pem=presented_pem,
                    previous_signing_public_key=signing_key.raw,
                    next_node_public_key=keys.node_key.text if node_changes else None,
                    next_node_id=str(known.next_node_id) if known_next else None,
                )
            )
            append_event(
                connection,
                at=now,
                actor=site_id,
                name="site.renewed",
                subject=site_id,
                signing_key_changed=keys.signing_key != signing_key,
                node_key_changed=node_changes,
            )
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
