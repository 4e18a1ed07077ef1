"""Records in a few large files: appended whole, read by place, overwritten when they must go.

A record is known by its place, which the database holds. Its bytes are on the disk before the place is
written there, so a process that is killed leaves at most bytes that no place names; `trim` cuts them off.

Erasing overwrites a record's bytes in its file. That reaches no copy that a backup, a snapshot, a copying
file system or the wear levelling of an SSD has kept.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
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

    def exist(self) -> bool:
        """Whether there is any shard."""
        return bool(self._numbers())

    def append(self, record: bytes) -> Place:
        """Write a record behind the others; it is on the disk when this returns.

        Raises
        ------
        StoreError
            The disk refuses; what it has taken of the record is taken back.
        """
        make_private_folder(self._folder)
        with _disk("An example cannot be written"):
            last = max(self._numbers(), default=0)
            if last == 0 or self._file(last).stat().st_size >= SHARD_BYTES:
                last += 1
            descriptor = os.open(self._file(last), os.O_WRONLY | os.O_CREAT, PRIVATE)
            with os.fdopen(descriptor, "wb") as file:
                offset = file.seek(0, os.SEEK_END)
                try:
                    file.write(record)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.ftruncate(descriptor, offset)
                    raise
            sync_folder(self._folder)
        return Place(shard=last, offset=offset, size_bytes=len(record))

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
            if not shard.exists() or shard.stat().st_size < place.offset + place.size_bytes:
                return
        with _disk("An example cannot be erased"), shard.open("r+b") as file:
            file.seek(place.offset)
            for start in range(0, place.size_bytes, _ERASE_BYTES):
                file.write(bytes(min(_ERASE_BYTES, place.size_bytes - start)))
            file.flush()
            os.fsync(file.fileno())

    def trim(self, live: Collection[Place]) -> None:
        """Cut off what lies behind the last live record of each shard; a shard without any goes.

        Raises
        ------
        StoreError
            The disk refuses.
        """
        ends: dict[int, int] = {}
        for place in live:
            ends[place.shard] = max(ends.get(place.shard, 0), place.offset + place.size_bytes)
        with _disk("The files of examples cannot be put in order"):
            for number in self._numbers():
                if number not in ends:
                    self._file(number).unlink()
                elif self._file(number).stat().st_size > ends[number]:
                    os.truncate(self._file(number), ends[number])

    def _numbers(self) -> list[int]:
        return sorted(int(file.stem) for file in self._folder.glob(f"*{ENDING}") if file.stem.isdigit())

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
