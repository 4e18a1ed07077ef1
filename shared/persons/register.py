"""The register of persons, on the relational store of either side; every change is one transaction with its
line in the audit log."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, RowMapping, insert, select, update

from shared.audit.events import PersonAdded, PersonDisabled
from shared.audit.log import append, take_write_lock
from shared.errors import TrustError
from shared.persons.person import Person, PersonState, check_addition, check_disabling
from shared.persons.roles import Role
from shared.persons.schema import person
from shared.persons.token import PersonToken
from shared.store import transaction
from shared.trust.envelope import Envelope, sign
from shared.trust.keys import VerifyKey
from shared.trust.personal_keys import new_personal_key, open_personal_key


class Persons:
    """Adds, disables and finds persons, and signs for whoever holds a person's token."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, name: str, role: Role, *, actor: str, at: float) -> PersonToken:
        """Add a person; the token that is returned is kept nowhere and can only be shown now.

        Raises
        ------
        ConfigError
            The name is unusable or was given before, or the first person would be no administrator.
        """
        token = PersonToken.generate()
        verify_key, sealed_key = new_personal_key(token.key_secret(), name=name)
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            check_addition(_all(connection), name, role)
            connection.execute(
                insert(person).values(
                    name=name,
                    role=role,
                    state=PersonState.ACTIVE,
                    token_hash=token.hash(),
                    public_key=verify_key.raw,
                    sealed_key=sealed_key,
                    added_at=at,
                )
            )
            event = PersonAdded(subject=name, role=role, key_id=verify_key.key_id)
            append(connection, event, actor=actor, at=at)
        return token

    def disable(self, name: str, *, actor: str, at: float) -> None:
        """End a person's token for good; what they signed stays theirs.

        Raises
        ------
        NotFoundError
            Nobody has this name.
        ConfigError
            The person is disabled already, or is the last administrator.
        """
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            check_disabling(_all(connection), name)
            connection.execute(
                update(person).where(person.c.name == name).values(state=PersonState.DISABLED, disabled_at=at)
            )
            append(connection, PersonDisabled(subject=name), actor=actor, at=at)

    def all(self) -> list[Person]:
        """Everybody who has or had a token, by name."""
        with transaction(self._engine) as connection:
            return _all(connection)

    def find(self, token: PersonToken) -> Person:
        """Whose token it is.

        Raises
        ------
        TrustError
            Nobody's here, or its person was disabled.
        """
        return _to_person(self._row_of(token))

    def sign_as(self, token: PersonToken, payload_type: str, payload: bytes) -> Envelope:
        """Sign something, such as an approval or a release, with the key of the token's person.

        Raises
        ------
        TrustError
            The token is nobody's here, or its person was disabled.
        TamperedError
            The person's key was changed in the store.
        """
        row = self._row_of(token)
        key = open_personal_key(row["sealed_key"], token.key_secret(), name=row["name"])
        return sign(payload_type, payload, key)

    def _row_of(self, token: PersonToken) -> RowMapping:
        with transaction(self._engine) as connection:
            rows = connection.execute(select(person)).mappings().all()
        # Every row is compared, so that the time taken tells nothing about which was nearly right.
        matching = [row for row in rows if token.has_hash(row["token_hash"])]
        if not matching:
            raise TrustError(
                "The token is nobody's here.",
                "Use the token that was shown for this coordinator or site; `user list` shows the names.",
            )
        (row,) = matching
        if row["state"] != PersonState.ACTIVE:
            raise TrustError("The token's person was disabled.", "Ask an administrator.")
        return row


def _all(connection: Connection) -> list[Person]:
    return [_to_person(row) for row in connection.execute(select(person).order_by(person.c.name)).mappings()]


def _to_person(row: RowMapping) -> Person:
    return Person(
        name=row["name"],
        role=Role(row["role"]),
        state=PersonState(row["state"]),
        verify_key=VerifyKey(row["public_key"]),
        added_at=row["added_at"],
        disabled_at=row["disabled_at"],
    )
