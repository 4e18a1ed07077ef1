"""A blob that is still arriving: bytes on the disk, appended in order, that become a blob or nothing."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from shared.errors import StoreError, TamperedError
from shared.files import PRIVATE_FILE, sync_folder
from shared.transfer.blob_ref import BlobRef

READ_BYTES = 1024 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn the operating system's errors into StoreError, a full disk into one that says so."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreError(
                "The disk or its quota is full.", "Free space on the disk of this home; then try again."
            ) from error
        raise StoreError(
            "A blob cannot be read or written.",
            "Check that the disk of this home is mounted, writable and without errors.",
        ) from error


class PartialBlob:
    """Exclusive access to one unfinished blob; a context manager that keeps the bytes when left.

    Open with `BlobStore.try_partial`. The lock is on the open file, so that a killed process frees it.
    """

    def __init__(self, descriptor: int, path: Path, final: Path, ref: BlobRef) -> None:
        self.ref = ref
        self._descriptor = descriptor
        self._path = path
        self._final = final
        self.have_bytes = 0
        self._hash = hashlib.sha256()
        self.truncate(os.fstat(descriptor).st_size)

    @classmethod
    def try_open(cls, path: Path, final: Path, ref: BlobRef) -> PartialBlob | None:
        """Open and lock, or None while another process or thread holds the lock."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if is_same_file(descriptor, path):
                    return cls(descriptor, path, final, ref)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            # Between open and lock its last holder finished or dropped it: this is not ours to write.
            os.close(descriptor)

    def __enter__(self) -> PartialBlob:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def truncate(self, size_bytes: int) -> None:
        """Keep the first bytes only, none if there are more than the blob can have. Raises StoreError."""
        keep = size_bytes if size_bytes <= self.ref.size_bytes else 0
        with disk_errors():
            os.ftruncate(self._descriptor, keep)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            self.have_bytes = 0
            self._hash = hashlib.sha256()
            while block := os.read(self._descriptor, READ_BYTES):
                self._hash.update(block)
                self.have_bytes += len(block)

    def append(self, data: bytes) -> None:
        """Write the next bytes.

        Raises
        ------
        TamperedError
            They reach beyond the blob's size; all that had arrived is dropped.
        StoreError
            The disk refuses.
        """
        if self.have_bytes + len(data) > self.ref.size_bytes:
            self.truncate(0)
            raise _not_the_blob()
        with disk_errors():
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self._hash.update(data)
        self.have_bytes += len(data)

    def finish(self) -> None:
        """Make it a blob of the store: synced, then renamed.

        Raises
        ------
        TamperedError
            The bytes are not the ones that the digest names; they are dropped, the store is as before.
        StoreError
            The disk refuses.
        """
        if self.have_bytes != self.ref.size_bytes or self._hash.hexdigest() != self.ref.digest:
            self.truncate(0)
            raise _not_the_blob()
        with disk_errors():
            os.fsync(self._descriptor)
            publish(self._path, self._final)


def publish(written: Path, final: Path) -> None:
    """Rename a synced file to its final name and sync the name."""
    if not final.parent.is_dir():
        final.parent.mkdir(mode=0o700, exist_ok=True)
        sync_folder(final.parent.parent)
    written.replace(final)
    sync_folder(final.parent)


def is_same_file(descriptor: int, path: Path) -> bool:
    """Whether a file that was opened still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _not_the_blob() -> TamperedError:
    return TamperedError(
        "The bytes that arrived are not the ones that their digest names.",
        "Transfer it again; if this recurs, the sender's disk or the network is damaged.",
    )
