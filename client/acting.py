"""Who acts at the site."""

# Imports what it needs when it is called, as the commands do.

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from client.home import SiteHome, default_home
from shared.errors import HomeError
from shared.persons.roles import Action
from shared.persons.terminal import token_at_terminal

if TYPE_CHECKING:
    from shared.persons.side import Side
    from shared.store_commands import StorePlace


def open_for(home: Path, action: Action) -> tuple[Side, str]:
    """The site, and the name of who acts at the terminal, whose role is enough for the action.

    Raises
    ------
    TrustError
        It must be known who acts, or their role is not enough.
    HomeError, StoreError
        See `client.store.opening.open_site_store`.
    """
    side = open_side(home)
    return side, side.acting(action, token_at_terminal()).name


def open_existing_side(folder: Path | None) -> Side:
    """As `open_side`, for looking: nothing is made.

    Raises
    ------
    HomeError
        The folder is not a site's home.
    StoreError
        Its database cannot be opened.
    """
    require_store(SiteHome(folder or default_home()))
    return open_side(folder)


def place_of_store(folder: Path | None) -> StorePlace:
    """Where the database of a site's home is. Raises HomeError if there is none."""
    from shared.store import sqlite_url
    from shared.store_commands import StorePlace

    home = SiteHome(folder or default_home())
    require_store(home)
    return StorePlace(folder=home.folder, url=sqlite_url(home.store_file))


def require_store(home: SiteHome) -> None:
    """Return only if something was ever done in this home; an empty log of a mistyped one would mislead.

    Raises
    ------
    HomeError
        Nothing was.
    """
    if not home.store_file.is_file():
        raise HomeError("This folder is not a site's home.", "Name the site's home with --home.")


def open_side(folder: Path | None) -> Side:
    """What persons see of a site's home, which is made at first use.

    Raises
    ------
    HomeError, StoreError
        See `client.store.opening.open_site_store`.
    """
    from client.store.audit import AuditLog, Persons
    from client.store.opening import open_site_store
    from shared.persons.side import Side

    home = SiteHome(folder or default_home())
    engine = open_site_store(home.folder)
    name = home.membership().site_id if home.has_joined() else "site"
    return Side(name=name, home=home.folder, persons=Persons(engine), log=AuditLog(engine))
