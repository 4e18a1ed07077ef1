"""A named person, and the rules by which persons come and go."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared.errors import ConfigError, NotFoundError
from shared.persons.roles import Role
from shared.trust.keys import VerifyKey

NAME = re.compile(r"[a-z][a-z0-9.-]{0,62}")


class PersonState(StrEnum):
    """Whether a person's token counts."""

    ACTIVE = "active"
    DISABLED = "disabled"


PERSON_TRANSITIONS: Mapping[PersonState, frozenset[PersonState]] = {
    PersonState.ACTIVE: frozenset({PersonState.DISABLED}),
    PersonState.DISABLED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who has, or had, a token.

    Attributes
    ----------
    name
        Never given to another, so that a line of the audit log always means the same person.
    verify_key
        By which approvals and releases prove to be this person's, even after the person was disabled.
    added_at, disabled_at
        Seconds since the Unix epoch.
    """

    name: str
    role: Role
    state: PersonState
    verify_key: VerifyKey
    added_at: float
    disabled_at: float | None


def check_addition(persons: Collection[Person], name: str, role: Role) -> None:
    """Let a new person pass.

    Raises
    ------
    ConfigError
        The name is unusable or was given before, or the first person would be no administrator, so that
        nobody could add another.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            "That cannot be a person's name.", "Use a-z first, then a-z, 0-9, dots and hyphens, at most 63."
        )
    if any(person.name == name for person in persons):
        raise ConfigError(
            f"There is, or was, a person named '{name}'.", "Choose another name; names are never used again."
        )
    if not persons and role is not Role.ADMINISTRATOR:
        raise ConfigError(
            "The first person must be an administrator.", "Add one with the role 'administrator' first."
        )


def check_disabling(persons: Collection[Person], name: str) -> None:
    """Let a person go.

    Raises
    ------
    NotFoundError
        Nobody has this name.
    ConfigError
        The person is disabled already, or is the last administrator.
    """
    found = next((person for person in persons if person.name == name), None)
    if found is None:
        raise NotFoundError("There is no person of that name.", "`user list` shows all.")
    if PersonState.DISABLED not in PERSON_TRANSITIONS[found.state]:
        raise ConfigError(f"'{name}' is disabled already.", "Nothing is left to do.")
    others = (person for person in persons if person.name != name)
    administrates = (
        person.role is Role.ADMINISTRATOR and person.state is PersonState.ACTIVE for person in others
    )
    if found.role is Role.ADMINISTRATOR and not any(administrates):
        raise ConfigError(
            f"'{name}' is the last administrator.", "Add another administrator before disabling this one."
        )
