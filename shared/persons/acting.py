"""Who is at the terminal: the person of the token, or the machine's user where no person was made yet."""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path

from shared.errors import HomeError, TrustError
from shared.persons.register import Persons
from shared.persons.roles import Action, Role, require
from shared.persons.token import PersonToken


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Somebody who acts.

    Attributes
    ----------
    name
        As the audit log has it: `person:NAME`, or `local:USER` for a user of the operating system.
    """

    name: str
    role: Role

    def require(self, action: Action) -> None:
        """Let this actor do that. Raises TrustError if the role is not enough."""
        require(self.role, action)


def who_acts(persons: Persons, *, home: Path, token: PersonToken | None) -> Actor:
    """Who acts on a home.

    From the first person on, nobody acts without a token. Until then, the user who owns the home folder is
    its administrator: that user could read and write all that is in it anyway.

    Raises
    ------
    TrustError
        The token is nobody's here or was disabled; or there is none, but it is needed.
    HomeError
        There is no such folder.
    """
    if token is not None:
        person = persons.find(token)
        return Actor(name=f"person:{person.name}", role=person.role)
    if persons.all():
        raise TrustError(
            "It must be known who acts: this home has named persons.",
            "Give your token in MAMMOFED_TOKEN or with --token-file.",
        )
    try:
        owner = home.stat().st_uid
    except OSError as error:
        raise HomeError("The home is not a folder that can be read.", "Name another home.") from error
    if owner != os.getuid():
        raise TrustError(
            "This home belongs to another user of this machine.",
            "Act as that user, or have them add you with `user add`.",
        )
    return Actor(name=local_name(owner), role=Role.ADMINISTRATOR)


def local_name(uid: int) -> str:
    """The name of an operating system's user in the audit log."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return "local:" + re.sub(r"[^A-Za-z0-9._-]", "-", name)[:63]
