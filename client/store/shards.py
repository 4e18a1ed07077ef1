"""Records in a few large files: appended whole, read by place, overwritten when they must go.

A record is known by its place, which the database holds. A place is announced before its bytes are written,
so the database knows of every byte at any time: what a killed process has left can be erased, and what no
announcement named is never touched.

Erasing overwrites a record's bytes in its file. That reaches no copy that a backup, a snapshot, a copying
file system or the wear levelling of an SSD has kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.errors import StoreError
from shared.files import make_private_folder, sync_folder

SHARD_BYTES = 256 << 20
"""A shard that has reached this size is left as it is and another one begun."""
ENDING = ".shard"
PRIVATE = 0o600
_ERASE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """Where a record lies: number of the shard, first byte, bytes."""

    shard: int
    offset: int
    size_bytes: int


class Shards:
    """The shards of one folder. One process at a time may append, erase and trim; any may read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def numbers(self) -> list[int]:
        """Numbers of the shards that are there, in ascending order."""
        return sorted(int(file.stem) for file in self._folder.glob(f"*{ENDING}") if file.stem.isdigit())

    def append(self, record: bytes, announce: Callable[[Place], None]) -> Place:
        """Write a record behind the others; it is on the disk when this returns.

        Parameters
        ----------
        announce
            Told the record's place before anything is written.

        Raises
        ------
        StoreError
            The disk refuses; what it has taken of the record is taken back.
        """
        make_private_folder(self._folder)
        with _disk("An example cannot be written"):
            last = max(self.numbers(), default=0)
            offset = self._file(last).stat().st_size if last else SHARD_BYTES
            if offset >= SHARD_BYTES:
                last, offset = last + 1, 0
            place = Place(shard=last, offset=offset, size_bytes=len(record))
            announce(place)
            descriptor = os.open(self._file(last), os.O_WRONLY | os.O_CREAT, PRIVATE)
            with os.fdopen(descriptor, "wb") as file:
                file.seek(offset)
                try:
                    file.write(record)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.ftruncate(descriptor, offset)
                    raise
            sync_folder(self._folder)
        return place

    def read(self, place: Place) -> bytes:
        """A record's bytes, copied: under a map, a shard that another process cuts off kills the reader.

        Raises
        ------
        StoreError
            The shard is missing or too short.
        """
        with _disk("An example cannot be read"), self._file(place.shard).open("rb", buffering=0) as file:
            record = os.pread(file.fileno(), place.size_bytes, place.offset)
        if len(record) < place.size_bytes:
            raise StoreError(
                "A file of examples is damaged: its end is missing.", "Restore it from a backup."
            )
        return record

    def erase(self, place: Place) -> None:
        """Overwrite a record with zeros; they are on the disk when this returns. One that is gone is gone.

        Raises
        ------
        StoreError
            The disk refuses.
        """
        shard = self._file(place.shard)
        with _disk("An example cannot be erased"):
            there = min(place.size_bytes, shard.stat().st_size - place.offset) if shard.exists() else 0
            if there <= 0:
                return
        with _disk("An example cannot be erased"), shard.open("r+b") as file:
            file.seek(place.offset)
            for start in range(0, there, _ERASE_BYTES):
                file.write(bytes(min(_ERASE_BYTES, there - start)))
            file.flush()
            os.fsync(file.fileno())

    def trim(self, ends: Mapping[int, int], erased: Collection[Place]) -> None:
        """Cut off what lies behind the last live record of a shard; one that held erased ones alone goes.

        A shard of which neither is known stays as it is.

        Parameters
        ----------
        ends
            Where the last live record of a shard ends, by the shard's number.

        Raises
        ------
        StoreError
            The disk refuses.
        """
        emptied = {place.shard for place in erased} - set(ends)
        with _disk("The files of examples cannot be put in order"):
            for number in self.numbers():
                if number in emptied:
                    self._file(number).unlink()
                elif number in ends and self._file(number).stat().st_size > ends[number]:
                    os.truncate(self._file(number), ends[number])

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:05}{ENDING}"


@contextmanager
def _disk(failure: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{failure}: {error.strerror}.", "Free disk space, or correct the home folder's permissions."
        ) from error
