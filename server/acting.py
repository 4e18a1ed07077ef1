"""Who acts at the coordinator, and the coordinator as they act at it."""

# Imports what it needs when it is called, as the commands do.

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from server.home import CoordinatorHome, default_home
from shared.persons.roles import Action
from shared.persons.terminal import token_at_terminal

if TYPE_CHECKING:
    from server.coordinator import Coordinator
    from shared.persons.side import Side
    from shared.store_commands import StorePlace


def open_for(home: Path, action: Action) -> tuple[Coordinator, str]:
    """The coordinator, and the name of who acts at the terminal, whose role is enough for the action.

    Raises
    ------
    TrustError
        It must be known who acts, or their role is not enough.
    HomeError, StoreError
        See `Coordinator.open`.
    """
    from server.coordinator import Coordinator
    from shared.persons.acting import who_acts

    coordinator = Coordinator.open(CoordinatorHome(home))
    actor = who_acts(coordinator.persons, home=home, token=token_at_terminal())
    actor.require(action)
    return coordinator, actor.name


def place_of_store(folder: Path | None) -> StorePlace:
    """Where the database of a coordinator's home is.

    Raises
    ------
    HomeError
        The folder is not a coordinator's home.
    ConfigError
        Its settings, or the file with the database's address, cannot be used.
    """
    from server.store.opening import store_url
    from shared.store_commands import StorePlace

    home = CoordinatorHome(folder or default_home())
    return StorePlace(folder=home.folder, url=store_url(home.folder, home.database(home.settings())))


def open_side(folder: Path | None) -> Side:
    """What persons see of a coordinator's home.

    Raises
    ------
    HomeError
        The folder is not a coordinator's home.
    StoreError
        Its database cannot be opened.
    """
    from server.store import AuditLog, Persons, open_coordinator_store
    from server.store.audit import COORDINATOR
    from shared.persons.side import Side

    home = CoordinatorHome(folder or default_home())
    engine = open_coordinator_store(home.folder, home.database(home.settings()))
    return Side(name=COORDINATOR, home=home.folder, persons=Persons(engine), log=AuditLog(engine))
