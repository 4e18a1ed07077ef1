"""Where instances arrive: files that are whole or absent, under names of our own, readable by us alone."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
import time
from pathlib import Path

from shared.errors import StoreError
from shared.files import PRIVATE_FILE, make_private_folder, sync_folder

SUFFIX = ".dcm"
PART_PATTERN = ".*.part"
LOOK_AT_DISK_EVERY_BYTES = 16 << 20


class Spool:
    """A private folder that one process receives into.

    Parameters
    ----------
    folder
        Made if missing. What an earlier process left incomplete is deleted.
    min_free_bytes
        Nothing is received that would leave less of the disk.

    Attributes
    ----------
    written_at
        When the last bytes came, by the monotonic clock.

    Raises
    ------
    StoreError
        The disk refused.
    """

    def __init__(self, folder: Path, *, min_free_bytes: int) -> None:
        make_private_folder(folder)
        self.folder = folder
        self._min_free_bytes = min_free_bytes
        self._lock = threading.Lock()
        numbers = [int(path.stem) for path in folder.glob("*" + SUFFIX) if path.stem.isdigit()]
        self._number = max(numbers, default=0)
        self.written_at = time.monotonic()
        for part in folder.glob(PART_PATTERN):
            part.unlink(missing_ok=True)

    def open(self) -> Arrival:
        """Begin a file. Raises OSError, ENOSPC when the disk is too full."""
        self.check_space()
        with self._lock:
            self._number += 1
            return Arrival(self, f"{self._number:08d}")

    def check_space(self) -> None:
        """Raise OSError, ENOSPC, when the disk has less left than it must keep."""
        if shutil.disk_usage(self.folder).free < self._min_free_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Arrival:
    """One file on its way in. Safe to discard from another thread than the one that writes."""

    def __init__(self, spool: Spool, name: str) -> None:
        self._spool = spool
        self._part = spool.folder / f".{name}.part"
        self._whole = spool.folder / (name + SUFFIX)
        self._lock = threading.Lock()
        self._unseen_bytes = 0
        self._over = False
        descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, data: bytes) -> None:
        """Append. Raises OSError."""
        with self._lock:
            self._check_open()
            self._unseen_bytes += len(data)
            if self._unseen_bytes >= LOOK_AT_DISK_EVERY_BYTES:
                self._spool.check_space()
                self._unseen_bytes = 0
            self._file.write(data)
            self._spool.written_at = time.monotonic()

    def commit(self) -> Path:
        """End the file: its bytes and its name are on the disk when this returns. Raises OSError."""
        with self._lock:
            self._check_open()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._whole)
            self._over = True
            sync_folder(self._spool.folder)
        return self._whole

    def discard(self) -> None:
        """Delete what has arrived, unless it is whole already."""
        with self._lock:
            if self._over:
                return
            self._over = True
            self._part.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # closing flushes, and a full disk refuses once more
                self._file.close()

    def _check_open(self) -> None:
        if self._over:
            raise OSError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))


def disk_full() -> StoreError:
    """The error for a person when the disk has refused an arrival."""
    return StoreError(
        "The disk is too full to receive images.",
        "Free disk space and start again; what has arrived is kept.",
    )
