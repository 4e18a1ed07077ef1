"""A folder of blobs, each named by the SHA-256 of its bytes.

    blobs/<first two hex digits>/<digest>     whole and verified; never changed
    partial/<digest>.<owner>                  still arriving, locked by its writer
    partial/put.<random>                      being written by `put_bytes`, and locked
    partial/draft.<random>                    being written by the holder of a `draft`, who has it locked

Several processes may use one folder at once: a blob appears by rename only, and two that write the same
digest write the same bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from shared.errors import NotFoundError, StoreError, TamperedError
from shared.files import PRIVATE_FILE
from shared.transfer.blob_ref import BlobRef, check_digest
from shared.transfer.partial_blob import PartialBlob, disk_errors, is_same_file, publish

LOCAL_OWNER = "self"
"""Whose unfinished blobs those are that this side fetches for itself."""


class BlobStore:
    """The blobs below one folder, which is made if it is missing.

    All methods raise StoreError if the disk refuses, and TransferError for a malformed digest.
    """

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._partial = folder / "partial"
        with disk_errors():
            for part in (self._blobs, self._partial):
                part.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put_bytes(self, content: bytes) -> BlobRef:
        """Keep these bytes."""
        ref = BlobRef.of(content)
        with disk_errors():
            descriptor, temporary = self._new_file("put")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                publish(temporary, self._final_path(ref.digest))
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        return ref

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A file of this disk to write in any order and then to `put_draft`; else it is gone afterwards."""
        with disk_errors():
            descriptor, path = self._new_file("draft")
            try:
                yield path
            finally:
                path.unlink(missing_ok=True)
                os.close(descriptor)

    def put_draft(self, draft: Path, expected: BlobRef | None = None) -> BlobRef:
        """Keep a draft that is written and closed: the file itself, and no copy of it.

        Raises
        ------
        TamperedError
            Its bytes are not the expected ones; nothing is kept.
        """
        with disk_errors():
            with FileIO(draft) as file:
                size_bytes = os.fstat(file.fileno()).st_size
                ref = BlobRef(digest=hashlib.file_digest(file, "sha256").hexdigest(), size_bytes=size_bytes)
                if expected not in {None, ref}:
                    raise TamperedError(
                        "What was made is not the expected blob.", "Make it again from undamaged blobs."
                    )
                os.fsync(file.fileno())
            publish(draft, self._final_path(ref.digest))
        return ref

    def digest_of(self, draft: Path) -> str:
        """The digest that a draft, which is written and closed, will have as a blob."""
        with disk_errors(), FileIO(draft) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def has(self, digest: str) -> bool:
        """Whether the whole blob is here."""
        with disk_errors():
            return self._final_path(digest).is_file()

    def path(self, digest: str) -> Path:
        """Where the blob's bytes are; read only. Raises NotFoundError."""
        if not self.has(digest):
            raise _not_found()
        return self._final_path(digest)

    def open(self, digest: str) -> FileIO:
        """The blob, opened for reading without a buffer. Raises NotFoundError."""
        with disk_errors():
            try:
                return FileIO(self._final_path(digest))
            except FileNotFoundError as error:
                raise _not_found() from error

    def size(self, digest: str) -> int:
        """The blob's length in bytes. Raises NotFoundError."""
        with self.open(digest) as file:
            return os.fstat(file.fileno()).st_size

    def digests(self) -> list[str]:
        """All whole blobs, sorted."""
        with disk_errors():
            return sorted(path.name for path in self._blobs.glob("*/*"))

    def verify(self, ref: BlobRef) -> None:
        """Return only if the blob's bytes are still the ones that its reference names.

        Raises
        ------
        NotFoundError
            It is not here.
        TamperedError
            Its bytes or its size have changed on the disk.
        """
        with self.open(ref.digest) as file, disk_errors():
            size_bytes = os.fstat(file.fileno()).st_size
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if (digest, size_bytes) != (ref.digest, ref.size_bytes):
            raise TamperedError(
                "A blob on this disk is damaged.", "Remove it, check the disk, and fetch or make it again."
            )

    def remove(self, digest: str) -> None:
        """Forget a blob; nothing happens if it is not here."""
        with disk_errors():
            self._final_path(digest).unlink(missing_ok=True)

    def partial_bytes(self, digest: str, owner: str = LOCAL_OWNER) -> int:
        """How many bytes of an owner's unfinished blob have arrived."""
        with disk_errors():
            try:
                return self._partial_path(digest, owner).stat().st_size
            except FileNotFoundError:
                return 0

    def try_partial(self, ref: BlobRef, owner: str = LOCAL_OWNER) -> PartialBlob | None:
        """Take an unfinished blob, new or begun earlier; None while another process or thread has it.

        Parameters
        ----------
        owner
            Who sends: one owner's bytes never mix with another's, so that a rogue cannot spoil them.
        """
        with disk_errors():
            return PartialBlob.try_open(
                self._partial_path(ref.digest, owner), self._final_path(ref.digest), ref
            )

    def require_room(self, size_bytes: int) -> None:
        """Return only if the disk has so much space for blobs.

        Raises
        ------
        StoreError
            It has less.
        """
        with disk_errors():
            free_bytes = shutil.disk_usage(self._blobs).free
        if free_bytes < size_bytes:
            raise StoreError(
                f"The disk has {free_bytes >> 20} MiB left, and {(size_bytes >> 20) + 1} MiB are needed.",
                "Free space on it.",
            )

    def discard_unfinished(self, *, may_resume: Callable[[str], bool]) -> None:
        """Drop what has no writer and will get none: drafts, and unfinished blobs that nobody goes on with.

        Parameters
        ----------
        may_resume
            Whether the unfinished blob of a digest is kept for who sent or fetched the first part of it.
        """
        with disk_errors():
            for path in self._partial.iterdir():
                digest, _, _ = path.name.partition(".")
                if digest in {"put", "draft"} or not may_resume(digest):
                    _discard_if_abandoned(path)

    def _new_file(self, kind: str) -> tuple[int, Path]:
        """A file to write, locked while it is written, so that nobody takes it for abandoned."""
        while True:
            path = self._partial / f"{kind}.{secrets.token_hex(8)}"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if is_same_file(descriptor, path):
                return descriptor, path
            os.close(descriptor)  # taken for abandoned before it was locked

    def _final_path(self, digest: str) -> Path:
        check_digest(digest)
        return self._blobs / digest[:2] / digest

    def _partial_path(self, digest: str, owner: str) -> Path:
        check_digest(digest)
        return self._partial / f"{digest}.{owner}"


def _discard_if_abandoned(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_same_file(file.fileno(), path):
            path.unlink()


def _not_found() -> NotFoundError:
    return NotFoundError("No blob has this digest.", "Fetch it first, or check the digest.")
