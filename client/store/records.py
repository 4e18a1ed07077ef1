"""The records of examples: sealed with the site's key, or plain where the volume is encrypted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from client.store.shards import Place, Shards
from shared.errors import StoreError, TamperedError, TrustError
from shared.trust.sealing import SealingKey

EXAMPLES_FOLDER = "examples"
KEY_FILE = Path("keys") / "examples.key"
CONTEXT = b"mammofed example 1\0"


class Records:
    """The records of one home folder; which kind one is, its row says.

    Parameters
    ----------
    encrypted
        Seal what is written; both kinds can be read.
    announce
        Told the place of every record before it is written.
    """

    def __init__(self, home: Path, *, encrypted: bool, announce: Callable[[Place], None]) -> None:
        self._encrypted = encrypted
        self._announce = announce
        self._shards = Shards(home / EXAMPLES_FOLDER)
        # A new key beside old examples would hide that theirs is lost, and stand in the way of its backup.
        if self._shards.numbers() and not (home / KEY_FILE).exists():
            raise TrustError(
                "The key that seals this site's examples is missing.",
                "Restore it from the backup of the home folder; a new key cannot open the examples.",
            )
        self._key = SealingKey.open(home / KEY_FILE)

    def write(self, example_id: str, content: bytes) -> tuple[Place, str | None]:
        """Write a record; returns its place, and the SHA-256 (hex) of one that is not sealed."""
        if self._encrypted:
            sealed = self._key.seal(content, CONTEXT + example_id.encode())
            return self._shards.append(sealed, self._announce), None
        return self._shards.append(content, self._announce), hashlib.sha256(content).hexdigest()

    def read(self, place: Place, sha256: str | None, example_id: str) -> bytes:
        """A record's content, if it is what was written for this example.

        Raises
        ------
        StoreError
            It is missing or damaged.
        """
        record = self._shards.read(place)
        if sha256 is None:
            try:
                return self._key.unseal(record, CONTEXT + example_id.encode())
            except TamperedError as error:
                raise _damaged() from error
        if hashlib.sha256(record).hexdigest() != sha256:
            raise _damaged()
        return bytes(record)

    def erase(self, place: Place) -> None:
        """See `Shards.erase`."""
        self._shards.erase(place)


def _damaged() -> StoreError:
    return StoreError(
        "An example in the catalog is missing or damaged.",
        "Check the disk; `mammofed-site data verify` lists all of them.",
    )
