"""Invitations and enrolled sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, RowMapping, insert, select, update

from server.enrolment import EnrolledSite, SiteKeys
from server.lifecycle import SiteState
from server.store.events import append_event
from server.store.schema import invitation, site
from shared.enrolment.refusal import Refusal
from shared.errors import ConfigError
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


def _to_site(row: RowMapping) -> Site:
    node_id = int(row["node_id"]) if row["node_id"] is not None else None
    return Site(**{**row, "state": SiteState(row["state"]), "node_id": node_id})


class Federation:
    """The register of sites."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def invite(
        self, *, secret_hash: str, site_id: str, site_name: str, now: float, expires_at: float, actor: str
    ) -> None:
        """Record an invitation; its secret is known to nobody but the person who was shown it.

        Raises
        ------
        ConfigError
            A site of this name is enrolled.
        """
        with transaction(self._engine) as connection:
            if connection.execute(select(site).where(site.c.name == site_name)).first() is not None:
                raise ConfigError(f"A site named '{site_name}' is already enrolled.", "Choose another name.")
            connection.execute(
                insert(invitation).values(
                    secret_hash=secret_hash,
                    site_id=site_id,
                    site_name=site_name,
                    created_at=now,
                    expires_at=expires_at,
                )
            )
            append_event(
                connection, at=now, actor=actor, name="site.invited", subject=site_id, site_name=site_name
            )

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
            if invited["expires_at"] <= now:
                return Refusal.EXPIRED_TOKEN
            taken = connection.execute(select(site).where(site.c.name == invited["site_name"])).first()
            if taken is not None:
                return Refusal.NAME_TAKEN
            enrolled = EnrolledSite(
                site_id=invited["site_id"],
                site_name=invited["site_name"],
                keys=keys,
                certificate_pem=issue(invited["site_id"]),
                enrolled_at=now,
            )
            connection.execute(
                update(invitation).where(invitation.c.secret_hash == secret_hash).values(used_at=now)
            )
            connection.execute(insert(site).values(_to_row(enrolled)))
            append_event(
                connection,
                at=now,
                actor=enrolled.site_id,
                name="site.enrolled",
                subject=enrolled.site_id,
                site_name=enrolled.site_name,
            )
            return enrolled

    def sites(self) -> list[Site]:
        """Every enrolled site, by name."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(site).order_by(site.c.name)).mappings().all()
        return [_to_site(row) for row in rows]

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
            connection.execute(update(site).values(node_id=None))


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
    recorded = _to_site(connection.execute(select(site).where(site.c.site_id == site_id)).mappings().one())
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
