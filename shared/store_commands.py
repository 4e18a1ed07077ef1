"""The commands `store revision` and `store rewind`: what an update and its taking back need."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from shared.persons.roles import Action
from shared.persons.terminal import SideHomeOption, SideJsonOption, token_at_terminal
from shared.terminal import Output

if TYPE_CHECKING:
    from shared.persons.side import OpenSide


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePlace:
    """Where a role's database is.

    Attributes
    ----------
    url
        It may hold a password.
    """

    folder: Path
    url: str = field(repr=False)


PlaceOfStore: TypeAlias = Callable[[Path | None], StorePlace]
"""Of a home, or of the one that the environment names; nothing is opened or made."""


def store_commands(open_side: OpenSide, place_of: PlaceOfStore, migrations: Path) -> typer.Typer:
    """The group `store` of a command line."""
    app = typer.Typer(help="The database's schema, for updates.", no_args_is_help=True)

    @app.command("revision")
    def revision(as_json: SideJsonOption = False) -> None:
        """Print the schema that this version of mammofed works with."""
        from shared.store import newest_revision

        newest = newest_revision(migrations)
        Output(as_json).result({"revision": newest}, newest)

    @app.command("rewind")
    def rewind(
        to: Annotated[str, typer.Argument(metavar="REVISION", help="What the version before prints.")],
        home: SideHomeOption = None,
        as_json: SideJsonOption = False,
    ) -> None:
        """Bring the database back to the schema of an older version, before that is started again.

        What the older version has no place for is lost; the rest stays, the audit log and the ledger above
        all. Back up first, and stop the service: it must not run.
        """
        from shared.audit.events import StoreRewound
        from shared.files import hold_folder
        from shared.store import require_revision
        from shared.store import rewind as rewind_store

        place = place_of(home)
        require_revision(migrations, to)
        with hold_folder(place.folder):
            side = open_side(home)
            actor = side.acting(Action.STORE_MANAGE, token_at_terminal())
            side.log.append(StoreRewound(subject="store", revision=to), actor=actor.name, at=time.time())
            rewind_store(place.url, migrations, to)
        Output(as_json).result({"revision": to}, f"The database has the schema {to}.")

    return app
