"""Second factors of persons: the sealed secret of each, the last step used, hashes of recovery codes.

A code is used in one statement that only one of two callers can win, so that none opens two sign-ins.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from server.store.audit import append
from server.store.schema import recovery_code, second_factor, sign_in
from shared.audit.events import RecoveryCodeUsed, SecondFactorRemoved, SecondFactorSet
from shared.audit.log import take_write_lock
from shared.errors import ConfigError
from shared.store import transaction
from shared.trust.sealing import SealingKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondFactor:
    """What a person's codes come from.

    Attributes
    ----------
    is_confirmed
        Whether the person has shown a code of it: from then on it is asked for.
    last_step
        Of the last code that was used; 0 before the first.
    """

    secret: str
    is_confirmed: bool
    last_step: int
    num_recovery_codes: int


class SecondFactors:
    """The register.

    Parameters
    ----------
    key_file
        Key that the secrets are sealed with, so that whoever reads the database alone has none of them.
    """

    def __init__(self, engine: Engine, key_file: Path) -> None:
        self._engine = engine
        self._key_file = key_file

    def of(self, name: str) -> SecondFactor | None:
        """A person's second factor, confirmed or not; None if there is none."""
        num_codes = select(func.count()).where(recovery_code.c.person == name).scalar_subquery()
        query = select(second_factor, num_codes.label("num")).where(second_factor.c.person == name)
        with transaction(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        secret = SealingKey.open(self._key_file).unseal(row["sealed_secret"], name.encode()).decode()
        return SecondFactor(
            secret=secret,
            is_confirmed=row["confirmed_at"] is not None,
            last_step=row["last_step"],
            num_recovery_codes=row["num"],
        )

    def begin(self, name: str, secret: str, *, at: float) -> None:
        """Keep a secret that the person still has to show a code of, in the place of an earlier such one.

        Raises
        ------
        ConfigError
            The person has a second factor.
        """
        sealed = SealingKey.open(self._key_file).seal(secret.encode(), name.encode())
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            if _is_confirmed(connection, name):
                raise ConfigError("You have a second factor already.", "Remove it first.")
            connection.execute(delete(second_factor).where(second_factor.c.person == name))
            connection.execute(
                insert(second_factor).values(person=name, sealed_secret=sealed, begun_at=at, last_step=0)
            )

    def confirm(
        self, name: str, *, step: int, recovery_hashes: Collection[str], actor: str, at: float
    ) -> None:
        """Ask for it from now on."""
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            connection.execute(
                update(second_factor)
                .where(second_factor.c.person == name)
                .values(confirmed_at=at, last_step=step)
            )
            connection.execute(delete(recovery_code).where(recovery_code.c.person == name))
            rows = [{"person": name, "code_hash": each} for each in recovery_hashes]
            connection.execute(insert(recovery_code), rows)
            append(connection, SecondFactorSet(subject=name), actor=actor, at=at)

    def use_step(self, name: str, step: int) -> bool:
        """Whether the code of this step is used hereby, and was not before."""
        with transaction(self._engine) as connection:
            done = connection.execute(
                update(second_factor)
                .where(second_factor.c.person == name, second_factor.c.last_step < step)
                .values(last_step=step)
            )
        return done.rowcount == 1

    def use_recovery_code(self, name: str, code_hash: str, *, at: float) -> bool:
        """Whether this is a recovery code of the person, which is used up hereby."""
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            done = connection.execute(
                delete(recovery_code).where(
                    recovery_code.c.person == name, recovery_code.c.code_hash == code_hash
                )
            )
            if done.rowcount == 1:
                append(connection, RecoveryCodeUsed(subject=name), actor=f"person:{name}", at=at)
        return done.rowcount == 1

    def remove(self, name: str, *, actor: str, at: float) -> None:
        """Ask for none any more, and end the person's sign-ins. Raises ConfigError if there is none."""
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            was_asked_for = _is_confirmed(connection, name)
            connection.execute(delete(recovery_code).where(recovery_code.c.person == name))
            connection.execute(delete(second_factor).where(second_factor.c.person == name))
            if not was_asked_for:
                raise ConfigError("You have no second factor.", "There is nothing to remove.")
            connection.execute(delete(sign_in).where(sign_in.c.person == name))
            append(connection, SecondFactorRemoved(subject=name), actor=actor, at=at)


def _is_confirmed(connection: Connection, name: str) -> bool:
    query = select(second_factor.c.confirmed_at).where(second_factor.c.person == name)
    return connection.execute(query).scalar_one_or_none() is not None
