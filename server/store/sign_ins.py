"""How persons sign in to the console: their passwords, and the sign-ins that are open.

A sign-in is known by the hash of a key that only its browser has. It ends `LIFE_S` after it began, `IDLE_S`
after it was last used, when its person signs out, sets another password or is disabled.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Engine, delete, insert, or_, select, update

from server.store.audit import append
from server.store.schema import password, sign_in
from shared.audit.events import PasswordSet, PersonSignedIn, PersonSignedOut, SignInRefused
from shared.audit.log import take_write_lock
from shared.errors import TrustError
from shared.persons.acting import Actor
from shared.persons.person import PersonState
from shared.persons.roles import Role
from shared.persons.schema import person
from shared.store import transaction

LIFE_S = 12 * 3600.0
IDLE_S = 3600.0
NOTED_EVERY_S = 60.0
"""How far the time of the last use may lie behind, so that looking at pages seldom writes."""

CONSOLE = "console"
COORDINATOR = "coordinator"


class Passwords:
    """The register of passwords, each by its Argon2 hash alone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def set(self, name: str, encoded: str, *, actor: str, at: float) -> None:
        """Give a person a password in the place of the one before, and end their sign-ins."""
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            connection.execute(delete(password).where(password.c.person == name))
            connection.execute(insert(password).values(person=name, encoded=encoded, set_at=at))
            connection.execute(delete(sign_in).where(sign_in.c.person == name))
            append(connection, PasswordSet(subject=name), actor=actor, at=at)

    def of(self, name: str) -> str | None:
        """The hash of an active person's password; None if there is none."""
        query = (
            select(password.c.encoded)
            .join(person, person.c.name == password.c.person)
            .where(person.c.name == name, person.c.state == PersonState.ACTIVE)
        )
        with transaction(self._engine) as connection:
            return connection.execute(query).scalar_one_or_none()


class SignIns:
    """The register of open sign-ins."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, name: str, *, key_hash: str, at: float) -> None:
        """Open a sign-in of a person whose password was right; those that are over are forgotten.

        Raises
        ------
        TrustError
            The person was disabled meanwhile.
        """
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            connection.execute(delete(sign_in).where(_is_over(at)))
            state = connection.execute(select(person.c.state).where(person.c.name == name)).scalar_one()
            if state != PersonState.ACTIVE:
                raise TrustError("This person was disabled.", "Ask an administrator.")
            connection.execute(
                insert(sign_in).values(key_hash=key_hash, person=name, begun_at=at, used_at=at)
            )
            append(connection, PersonSignedIn(subject=name), actor=f"person:{name}", at=at)

    def find(self, key_hash: str, *, at: float) -> Actor | None:
        """Who acts by a key, in the role that they have now; None if its sign-in is over or there is none."""
        query = (
            select(person.c.name, person.c.role, sign_in.c.used_at)
            .join(person, person.c.name == sign_in.c.person)
            .where(_is(key_hash), person.c.state == PersonState.ACTIVE, ~_is_over(at))
        )
        with transaction(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        if at - row.used_at > NOTED_EVERY_S:
            with transaction(self._engine) as connection:
                connection.execute(update(sign_in).where(_is(key_hash)).values(used_at=at))
        return Actor(name=f"person:{row.name}", role=Role(row.role))

    def end(self, key_hash: str, *, at: float) -> None:
        """End a sign-in, if there is one."""
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            name = connection.execute(select(sign_in.c.person).where(_is(key_hash))).scalar_one_or_none()
            if name is not None:
                connection.execute(delete(sign_in).where(_is(key_hash)))
                append(connection, PersonSignedOut(subject=name), actor=f"person:{name}", at=at)

    def end_all(self) -> None:
        """End every sign-in."""
        with transaction(self._engine) as connection:
            connection.execute(delete(sign_in))

    def note_refusal(self, name: str, cause: str, *, at: float) -> None:
        """Write down that somebody was not let in, and as whom; a name that is nobody's may be a password."""
        with transaction(self._engine) as connection:
            known = _is_known(connection, name)
            event = SignInRefused(subject=CONSOLE, person=name if known else None, cause=cause)
            append(connection, event, actor=COORDINATOR, at=at)


def _is(key_hash: str) -> ColumnElement[bool]:
    return sign_in.c.key_hash == key_hash


def _is_over(at: float) -> ColumnElement[bool]:
    return or_(sign_in.c.begun_at <= at - LIFE_S, sign_in.c.used_at <= at - IDLE_S)


def _is_known(connection: Connection, name: str) -> bool:
    return connection.execute(select(person.c.name).where(person.c.name == name)).first() is not None
