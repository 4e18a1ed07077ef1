"""By whom else persons are known: one identity at a provider of OpenID Connect for each.

An identity belongs to one person at most, so that nobody is two of the persons that a release needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Engine, and_, delete, insert, or_, select

from server.store.audit import append
from server.store.schema import outside_identity, sign_in
from shared.audit.events import IdentityBound, IdentityReleased
from shared.audit.log import take_write_lock
from shared.errors import ConfigError
from shared.store import transaction


class Claim(StrEnum):
    """By what a provider's word is matched."""

    SUBJECT = "sub"
    VERIFIED_EMAIL = "email"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Somebody at a provider; an e-mail in small letters."""

    issuer: str
    claim: Claim
    value: str


class Identities:
    """The register."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def bind(self, name: str, identity: Identity, *, actor: str, at: float) -> None:
        """Let an identity open sign-ins of a person, in the place of the one before.

        Raises
        ------
        ConfigError
            It is another person's.
        """
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            known = select(outside_identity.c.person).where(
                _is(identity.issuer, identity.claim, identity.value), outside_identity.c.person != name
            )
            if connection.execute(known).first() is not None:
                raise ConfigError(
                    "Another person is known by that identity already.", "Each person needs one of their own."
                )
            connection.execute(delete(outside_identity).where(outside_identity.c.person == name))
            connection.execute(
                insert(outside_identity).values(
                    person=name,
                    issuer=identity.issuer,
                    claim=identity.claim.value,
                    value=identity.value,
                    bound_at=at,
                )
            )
            append(connection, IdentityBound(subject=name, claim=identity.claim.value), actor=actor, at=at)

    def release(self, name: str, *, actor: str, at: float) -> None:
        """Let a person sign in by password alone again, and end their sign-ins, if they have an identity."""
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            gone = delete(outside_identity).where(outside_identity.c.person == name)
            if connection.execute(gone).rowcount:
                connection.execute(delete(sign_in).where(sign_in.c.person == name))
                append(connection, IdentityReleased(subject=name), actor=actor, at=at)

    def whose(self, issuer: str, *, subject: str, verified_email: str | None) -> str | None:
        """The name of the person who is known so; None if nobody is. The subject goes before the e-mail."""
        matches = [_is(issuer, Claim.SUBJECT, subject)]
        if verified_email is not None:
            matches.append(_is(issuer, Claim.VERIFIED_EMAIL, verified_email))
        query = (
            select(outside_identity.c.person)
            .where(or_(*matches))
            .order_by(outside_identity.c.claim.desc())
            .limit(1)
        )
        with transaction(self._engine) as connection:
            return connection.execute(query).scalar_one_or_none()


def _is(issuer: str, claim: Claim, value: str) -> ColumnElement[bool]:
    table = outside_identity.c
    return and_(table.issuer == issuer, table.claim == claim.value, table.value == value)
