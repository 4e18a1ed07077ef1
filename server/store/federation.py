"""Invitations and enrolled sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, insert, select, true, update

from server.enrolment import EnrolledSite, SiteKeys
from server.lifecycle import SiteState
from server.store.audit import append
from server.store.schema import application, invitation, site
from shared.audit.events import SiteApplied, SiteEnrolled, SiteInvited, SiteWithdrawn
from shared.enrolment.refusal import Refusal
from shared.errors import ConfigError, NotFoundError
from shared.store import transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An enrolled hospital.

    Attributes
    ----------
    signing_public_key
        Raw Ed25519 public key, 32 bytes.
    node_public_key
        Flower node key, OpenSSH text.
    node_id
        Flower's current id of its node; None until the running SuperLink knows it.
    renewed_at
        When its certificate was last renewed; None if never.
    certificate_seen
        Whether the site has shown its current certificate, so that it is known to have it.
    previous_certificate_pem, previous_signing_public_key
        What its last renewal has replaced. The certificate is None once the new one was seen.
    next_node_public_key, next_node_id
        Of a node key that the site has renewed to and whose node is not online yet.
    """

    site_id: str
    name: str
    state: SiteState
    signing_public_key: bytes
    node_public_key: str
    node_id: int | None
    certificate_pem: bytes
    software_version: str
    enrolled_at: float
    renewed_at: float | None = None
    certificate_seen: bool = False
    previous_certificate_pem: bytes | None = None
    previous_signing_public_key: bytes | None = None
    next_node_public_key: str | None = None
    next_node_id: int | None = None


def to_site(row: RowMapping) -> Site:
    """A row of `site` as a record; node ids have 64 bits, which the table keeps as text."""
    node_ids = {name: _to_node_id(row[name]) for name in ("node_id", "next_node_id")}
    return Site(**{**row, "state": SiteState(row["state"]), **node_ids})


def _to_node_id(text: str | None) -> int | None:
    return None if text is None else int(text)


class Federation:
    """The register of sites."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def invite(
        self,
        *,
        secret_hash: str,
        site_id: str,
        site_name: str,
        now: float,
        expires_at: float,
        actor: str,
        by_hand: bool = False,
    ) -> None:
        """Record an invitation; its secret is known to nobody but the person who was shown it.

        Parameters
        ----------
        by_hand
            A person approves the keys that come with it before there is a certificate.

        Raises
        ------
        ConfigError
            A site of this name is enrolled.
        """
        with transaction(self._engine) as connection:
            if is_taken(connection, site_name):
                raise ConfigError(f"A site named '{site_name}' is already enrolled.", "Choose another name.")
            connection.execute(
                insert(invitation).values(
                    secret_hash=secret_hash,
                    site_id=site_id,
                    site_name=site_name,
                    created_at=now,
                    expires_at=expires_at,
                    by_hand=by_hand,
                )
            )
            append(connection, SiteInvited(subject=site_id, site_name=site_name), actor=actor, at=now)

    def invited(self, *, now: float) -> list[str]:
        """The names of the sites that hold an invitation with which they can still come."""
        query = select(invitation.c.site_name).where(
            invitation.c.used_at.is_(None),
            invitation.c.withdrawn_at.is_(None),
            invitation.c.expires_at > now,
            invitation.c.secret_hash.not_in(select(application.c.secret_hash)),
        )
        with transaction(self._engine) as connection:
            return sorted(set(connection.execute(query).scalars()))

    def withdraw(self, site_name: str, *, now: float, actor: str) -> int:
        """Withdraw every invitation to a site that was not used; returns how many.

        Raises
        ------
        NotFoundError
            There is none.
        """
        num = self._withdraw(invitation.c.site_name == site_name, now=now, actor=actor)
        if not num:
            raise NotFoundError(
                f"There is no open invitation for '{site_name}'.",
                "If the site has joined already, use `mammofed-coordinator site revoke`.",
            )
        return num

    def withdraw_all(self, *, now: float, actor: str) -> None:
        """Withdraw every invitation that was not used."""
        self._withdraw(true(), now=now, actor=actor)

    def _withdraw(self, which: ColumnElement[bool], *, now: float, actor: str) -> int:
        open_ones = (
            select(invitation.c.secret_hash, invitation.c.site_id)
            .where(which, invitation.c.used_at.is_(None), invitation.c.withdrawn_at.is_(None))
            .order_by(invitation.c.site_id)
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(open_ones).all()
            for secret_hash, site_id in rows:
                connection.execute(
                    update(invitation).where(invitation.c.secret_hash == secret_hash).values(withdrawn_at=now)
                )
                append(connection, SiteWithdrawn(subject=site_id), actor=actor, at=now)
        return len(rows)

    def enrol(
        self, *, secret_hash: str, now: float, keys: SiteKeys, issue: Callable[[str], bytes]
    ) -> EnrolledSite | Refusal:
        """Use up an invitation and record its site, in one transaction: both or neither.

        See `server.enrolment.EnrolmentRegister`.
        """
        with transaction(self._engine) as connection:
            # Taking the write lock before reading keeps two uses of one invitation apart.
            connection.execute(
                update(invitation)
                .where(invitation.c.secret_hash == secret_hash)
                .values(secret_hash=secret_hash)
            )
            query = select(invitation).where(invitation.c.secret_hash == secret_hash)
            invited = connection.execute(query).mappings().one_or_none()
            if invited is None:
                return Refusal.UNKNOWN_TOKEN
            if invited["used_at"] is not None:
                return _same_keys_again(connection, invited["site_id"], keys)
            if (refusal := _unusable(connection, invited, keys, now)) is not None:
                return refusal
            if invited["by_hand"]:
                return _apply(connection, invited, keys, now)
            return let_in(connection, invited, keys, issue, now=now, actor=invited["site_id"])

    def sites(self) -> list[Site]:
        """Every enrolled site, by name."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(site).order_by(site.c.name)).mappings().all()
        return [to_site(row) for row in rows]

    def active(self) -> list[Site]:
        """The sites that may take part, by site id."""
        active = (each for each in self.sites() if each.state is SiteState.ACTIVE)
        return sorted(active, key=lambda each: each.site_id)

    def is_active(self, site_id: str) -> bool:
        """Whether a site id belongs to a site that may take part."""
        query = select(site.c.state).where(site.c.site_id == site_id)
        with transaction(self._engine) as connection:
            return connection.execute(query).scalar_one_or_none() == SiteState.ACTIVE

    def set_node_id(self, site_id: str, node_id: int | None) -> None:
        """Record which Flower node a site currently is."""
        value = None if node_id is None else str(node_id)
        with transaction(self._engine) as connection:
            connection.execute(update(site).where(site.c.site_id == site_id).values(node_id=value))

    def forget_nodes(self) -> None:
        """Forget every Flower node id: a new SuperLink knows none of them."""
        with transaction(self._engine) as connection:
            connection.execute(update(site).values(node_id=None, next_node_id=None))


def is_taken(connection: Connection, site_name: str) -> bool:
    """Whether a site of this name was let in, even if it was revoked since."""
    return connection.execute(select(site).where(site.c.name == site_name)).first() is not None


def let_in(
    connection: Connection,
    invited: RowMapping,
    keys: SiteKeys,
    issue: Callable[[str], bytes],
    *,
    now: float,
    actor: str,
) -> EnrolledSite:
    """Use up an invitation and record its site, within the caller's transaction."""
    enrolled = EnrolledSite(
        site_id=invited["site_id"],
        site_name=invited["site_name"],
        keys=keys,
        certificate_pem=issue(invited["site_id"]),
        enrolled_at=now,
    )
    connection.execute(
        update(invitation).where(invitation.c.secret_hash == invited["secret_hash"]).values(used_at=now)
    )
    connection.execute(insert(site).values(_to_row(enrolled)))
    event = SiteEnrolled(subject=enrolled.site_id, site_name=enrolled.site_name)
    append(connection, event, actor=actor, at=now)
    return enrolled


def _to_row(enrolled: EnrolledSite) -> dict[str, str | bytes | float]:
    return {
        "site_id": enrolled.site_id,
        "name": enrolled.site_name,
        "state": SiteState.ACTIVE,
        "signing_public_key": enrolled.keys.signing_key.raw,
        "node_public_key": enrolled.keys.node_key.text,
        "certificate_pem": enrolled.certificate_pem,
        "software_version": enrolled.keys.software_version,
        "enrolled_at": enrolled.enrolled_at,
    }


def _same_keys_again(connection: Connection, site_id: str, keys: SiteKeys) -> EnrolledSite | Refusal:
    """The site as it was recorded, if these are its keys: its reply was lost on the way."""
    recorded = to_site(connection.execute(select(site).where(site.c.site_id == site_id)).mappings().one())
    same = (
        recorded.signing_public_key == keys.signing_key.raw
        and recorded.node_public_key == keys.node_key.text
        and recorded.state is SiteState.ACTIVE
    )
    if not same:
        return Refusal.USED_TOKEN
    return EnrolledSite(
        site_id=recorded.site_id,
        site_name=recorded.name,
        keys=keys,
        certificate_pem=recorded.certificate_pem,
        enrolled_at=recorded.enrolled_at,
    )


def _unusable(connection: Connection, invited: RowMapping, keys: SiteKeys, now: float) -> Refusal | None:
    """Why an invitation that was not used cannot be used by these keys now; None if it can."""
    if invited["withdrawn_at"] is not None:
        return Refusal.REVOKED_TOKEN
    if (asked := _asked_before(connection, invited["secret_hash"], keys)) is not None:
        return asked
    if invited["expires_at"] <= now:
        return Refusal.EXPIRED_TOKEN
    return Refusal.NAME_TAKEN if is_taken(connection, invited["site_name"]) else None


def _apply(connection: Connection, invited: RowMapping, keys: SiteKeys, now: float) -> Refusal:
    connection.execute(
        insert(application).values(
            secret_hash=invited["secret_hash"],
            state=SiteState.PENDING,
            csr_pem=keys.csr_pem,
            signing_public_key=keys.signing_key.raw,
            node_public_key=keys.node_key.text,
            software_version=keys.software_version,
            asked_at=now,
        )
    )
    append(connection, SiteApplied(subject=invited["site_id"]), actor=invited["site_id"], at=now)
    return Refusal.PENDING


def _asked_before(connection: Connection, secret_hash: str, keys: SiteKeys) -> Refusal | None:
    """How an application of these keys stands; other keys than the first find the invitation used."""
    query = select(application).where(application.c.secret_hash == secret_hash)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    if (row["signing_public_key"], row["node_public_key"]) != (keys.signing_key.raw, keys.node_key.text):
        return Refusal.USED_TOKEN
    return Refusal.PENDING if SiteState(row["state"]) is SiteState.PENDING else Refusal.REJECTED
