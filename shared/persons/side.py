"""One side as persons act at it: its home, who they are, and what is written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from shared.audit.log import AuditLog
from shared.persons.acting import Actor, who_acts
from shared.persons.register import Persons
from shared.persons.roles import Action
from shared.persons.token import PersonToken


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A coordinator or a site, opened.

    Attributes
    ----------
    name
        `coordinator`, a site id, or `site` as long as that has not joined.
    """

    name: str
    home: Path
    persons: Persons
    log: AuditLog

    def acting(self, action: Action, token: PersonToken | None) -> Actor:
        """Who acts, if that is enough for the action.

        Raises
        ------
        TrustError
            The role is not enough; or see `who_acts`.
        """
        actor = who_acts(self.persons, home=self.home, token=token)
        actor.require(action)
        return actor


OpenSide: TypeAlias = Callable[[Path | None], Side]
"""Opens a home folder, or the one that the environment names."""
