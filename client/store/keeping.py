"""Records and the database in step, so that the database knows of every byte at any time.

Before a record is written its erasure is ordered; the transaction that adds or moves an example's row calls
it off. What a killed import has left is thereby known, and erased by the next change; a file that the
database does not know of is never touched, and tells that the database is not the one that belongs to it.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from client.intake.pseudonyms import KEY_FILE
from client.store import examples as statements
from client.store.records import EXAMPLES_FOLDER, Records
from client.store.shards import Place, Shards
from shared.errors import StoreError
from shared.store import transaction


class Keeping:
    """The records of one home folder and what its database says of them.

    Parameters
    ----------
    encrypted
        Seal new records; both kinds can be read.

    Raises
    ------
    StoreError
        There are records that the database does not know of.
    TrustError
        The key of the records is missing or unreadable.
    """

    def __init__(self, engine: Engine, home: Path, *, encrypted: bool) -> None:
        self._engine = engine
        self._records = Records(home, encrypted=encrypted, announce=self._order_erasure)
        self._shards = Shards(home / EXAMPLES_FOLDER)
        unknown = self._unknown_shards()
        if unknown & set(self._shards.numbers()):  # else another process has removed them meanwhile
            raise _lost_store()

    def write(self, example_id: str, content: bytes) -> tuple[Place, str | None]:
        """See `Records.write`; whoever names the place in a row calls its erasure off."""
        return self._records.write(example_id, content)

    def read(self, place: Place, sha256: str | None, example_id: str) -> bytes:
        """See `Records.read`."""
        return self._records.read(place, sha256, example_id)

    def clear_up(self) -> None:
        """Overwrite and cut off what no example's row names; whatever a crash leaves is done the next time.

        Raises
        ------
        StoreError
            The disk or the database refuses.
        """
        with transaction(self._engine) as connection:
            places = statements.ordered_erasures(connection)
            ends = statements.shard_ends(connection)
        for place in places:
            self._records.erase(place)
        self._shards.trim(ends, places)
        with transaction(self._engine) as connection:
            for place in places:
                statements.call_off_erasure(connection, place)

    def _order_erasure(self, place: Place) -> None:
        with transaction(self._engine) as connection:
            statements.order_erasure(connection, [place])

    def _unknown_shards(self) -> set[int]:
        there = self._shards.numbers()
        with transaction(self._engine) as connection:
            known = set(statements.shard_ends(connection))
            known |= {place.shard for place in statements.ordered_erasures(connection)}
        return set(there) - known


def check_store(home: Path, store_file: Path) -> None:
    """Refuse to begin a database anew beside what only an older one can have led to.

    Raises
    ------
    StoreError
        The database is missing and was there.
    """
    is_there = store_file.exists() and store_file.stat().st_size > 0
    # The database is made before either of these.
    was_there = (home / KEY_FILE).exists() or Shards(home / EXAMPLES_FOLDER).numbers()
    if was_there and not is_there:
        raise _lost_store()


def _lost_store() -> StoreError:
    return StoreError(
        "The site's database is missing, or older than the examples beside it.",
        "Restore the newest site.db from the backup of the home folder; without one, begin with another home "
        "folder and import again.",
    )
