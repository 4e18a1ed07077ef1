"""Hospitals that were invited, have shown their keys, and wait for a person's approval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, select, update

from server.enrolment import EnrolledSite, SiteKeys
from server.lifecycle import SITE_TRANSITIONS, SiteState, require_transition
from server.store.audit import append
from server.store.federation import is_taken, let_in
from server.store.schema import application, invitation
from shared.audit.events import SiteApproved, SiteRejected
from shared.errors import ConfigError, NotFoundError
from shared.store import transaction
from shared.trust.keys import NodePublicKey, VerifyKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A hospital that waits.

    Attributes
    ----------
    asked_at
        When it first showed these keys, in seconds since the Unix epoch.
    """

    site_id: str
    site_name: str
    keys: SiteKeys
    asked_at: float


class Applications:
    """The register of hospitals that wait."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def waiting(self) -> list[Application]:
        """Every hospital that waits, oldest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_waiting().order_by(application.c.asked_at)).mappings().all()
        return [_to_application(row) for row in rows]

    def get(self, site_name: str) -> Application:
        """The hospital of this name that waits. Raises NotFoundError."""
        with transaction(self._engine) as connection:
            return _to_application(_load(connection, site_name))

    def approve(
        self,
        site_name: str,
        *,
        fingerprint: str,
        issue: Callable[[SiteKeys, str], bytes],
        now: float,
        actor: str,
    ) -> EnrolledSite:
        """Let a hospital in that waits: its invitation is used up and its site recorded, both or neither.

        Parameters
        ----------
        fingerprint
            Of the keys that the person has approved; the hospital may have none but these.
        issue
            Makes the certificate (PEM) for keys and a site id; called within the transaction.

        Raises
        ------
        NotFoundError
            No hospital of this name waits.
        ConfigError
            Its keys have another fingerprint, or another site took its name.
        """
        with transaction(self._engine) as connection:
            row = _load(connection, site_name)
            keys = _to_application(row).keys
            if keys.fingerprint != fingerprint:
                raise ConfigError(
                    "The keys that wait have another fingerprint than the one that was approved.",
                    "Ask the hospital by telephone what its `join` shows; if it differs, reject the site.",
                )
            if is_taken(connection, site_name):
                raise ConfigError(f"A site named '{site_name}' is already enrolled.", "Reject this one.")
            require_transition(SITE_TRANSITIONS, SiteState(row["state"]), SiteState.ACTIVE)
            append(connection, SiteApproved(subject=row["site_id"], keys=fingerprint), actor=actor, at=now)
            connection.execute(application.delete().where(application.c.secret_hash == row["secret_hash"]))
            return let_in(
                connection,
                row,
                keys,
                lambda site_id: issue(keys, site_id),
                now=now,
                actor=row["site_id"],
            )

    def reject(self, site_name: str, *, now: float, actor: str) -> None:
        """Send a hospital away that waits. Raises NotFoundError."""
        with transaction(self._engine) as connection:
            row = _load(connection, site_name)
            require_transition(SITE_TRANSITIONS, SiteState(row["state"]), SiteState.REJECTED)
            connection.execute(
                update(application)
                .where(application.c.secret_hash == row["secret_hash"])
                .values(state=SiteState.REJECTED)
            )
            append(connection, SiteRejected(subject=row["site_id"]), actor=actor, at=now)


def _waiting() -> Select[Any]:
    return (
        select(application, invitation.c.site_id, invitation.c.site_name)
        .join(invitation, invitation.c.secret_hash == application.c.secret_hash)
        .where(application.c.state == SiteState.PENDING, invitation.c.withdrawn_at.is_(None))
    )


def _load(connection: Connection, site_name: str) -> RowMapping:
    query = _waiting().where(invitation.c.site_name == site_name).order_by(application.c.asked_at)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFoundError(
            f"No hospital named '{site_name}' waits for approval.",
            "`mammofed-coordinator site list` shows those that do.",
        )
    return row


def _to_application(row: RowMapping) -> Application:
    return Application(
        site_id=row["site_id"],
        site_name=row["site_name"],
        keys=SiteKeys(
            csr_pem=row["csr_pem"],
            signing_key=VerifyKey(row["signing_public_key"]),
            node_key=NodePublicKey(row["node_public_key"]),
            software_version=row["software_version"],
        ),
        asked_at=row["asked_at"],
    )
