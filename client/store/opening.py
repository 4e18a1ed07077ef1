"""Where the site's database stands in its home folder."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from client.home import STORE_FILE
from client.store.keeping import check_store
from shared.errors import HomeError, StoreError
from shared.files import PRIVATE_FILE, make_private_folder
from shared.store import open_store, sqlite_url

MIGRATIONS = Path(__file__).parent / "migrations"


def open_site_store(home: Path) -> Engine:
    """Open the site's database, migrated to this version, making home and database at first use.

    Raises
    ------
    HomeError
        The home is not a folder that can be written.
    StoreError
        The database cannot be opened, written or migrated, or is missing beside what it describes.
    """
    check_store(home, home / STORE_FILE)
    try:
        make_private_folder(home)
        # SQLite gives its journal the mode of the database.
        (home / STORE_FILE).touch(PRIVATE_FILE)
    except (StoreError, OSError) as error:
        raise HomeError(
            "The home is not a folder that can be written.", "Name another home or correct its permissions."
        ) from error
    return open_store(sqlite_url(home / STORE_FILE), MIGRATIONS)
