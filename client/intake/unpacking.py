"""Writing an archive's members into a folder: under names that stay inside, within bounds."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from client.intake.exclusions import Reason, refusal
from client.intake.forward_reader import CHUNK_BYTES
from shared.errors import ArchiveError, StoreError, UndecodableError

MAX_RATIO = 100
"""Mammograms shrink to a half or a fifth, masks to a hundredth; what is built to do harm, to a thousandth."""
SMALL_BYTES = 64 << 20
"""Up to this, the ratio does not matter."""
KEPT_FREE_BYTES = 1 << 30
"""Of the disk, for the examples that are made of what was unpacked."""
MAX_MEMBERS = 1_000_000
MAX_DEPTH = 32
UNUSABLE_NAME = frozenset({errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL})


class Unpacking:
    """One archive on its way into an empty folder.

    Parameters
    ----------
    folder
        Nothing is written outside of it, and nothing in it is replaced.
    archive_bytes
        Size of the archive, from which follows how much may come out of it.
    advanced
        Called whenever more has been written.
    """

    def __init__(self, folder: Path, archive_bytes: int, advanced: Callable[[], None]) -> None:
        self.folder = folder
        self._advanced = advanced
        self._num_members = 0
        self._written_bytes = 0
        self.limit_bytes = max(SMALL_BYTES, MAX_RATIO * archive_bytes)

    def expect(self, size_bytes: int) -> None:
        """Check that so much more may come, and that the disk has room for it.

        Raises
        ------
        ArchiveError
            It is more than an archive of this size can honestly hold.
        StoreError
            The disk is too full.
        """
        if self._written_bytes + size_bytes > self.limit_bytes:
            raise too_large()
        if shutil.disk_usage(self.folder).free < size_bytes + KEPT_FREE_BYTES:
            raise StoreError(
                "There is not enough free disk space to unpack the archive.",
                "Free disk space, or unpack it elsewhere and import the folder.",
            )

    def put(self, name: str, stream: IO[bytes], size_bytes: int) -> None:
        """Write a member of a declared size.

        Raises
        ------
        ArchiveError
            The archive is hostile.
        IntakeError
            It cannot be read.
        UndecodableError
            The archive is damaged.
        StoreError
            The disk is full.
        """
        parts = _plain_parts(name)
        self._num_members += 1
        if self._num_members > MAX_MEMBERS:
            raise too_large()
        self.expect(size_bytes)
        end = self._written_bytes + size_bytes
        try:
            with self._create(parts) as file:
                for chunk in _chunks(stream):
                    self._written_bytes += len(chunk)
                    if self._written_bytes > end:
                        break
                    file.write(chunk)
                    self._advanced()
        except OSError as error:
            raise StoreError(
                f"The archive cannot be unpacked: {error.strerror}.",
                "Free disk space, or unpack it elsewhere and import the folder.",
            ) from error
        if self._written_bytes != end:
            raise damaged()

    def _create(self, parts: tuple[str, ...]) -> BinaryIO:
        """A new file under the member's name, or under its number if the name cannot be used."""
        if 0 < len(parts) <= MAX_DEPTH:
            path = self.folder.joinpath(*parts)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                return path.open("xb")
            except OSError as error:
                if error.errno not in UNUSABLE_NAME:
                    raise
        return (self.folder / f"{self._num_members:08}-renamed").open("xb")


def _plain_parts(name: str) -> tuple[str, ...]:
    """A member's path inside the folder; some writers put backslashes, some an absolute path."""
    parts = PurePosixPath(name.replace("\\", "/").lstrip("/")).parts
    if ".." in parts or "\0" in name:
        raise hostile()
    return parts


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    try:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
    except OSError as error:
        # The decompressors raise it too, without a number.
        raise damaged() if error.errno is None else refusal(Reason.UNREADABLE) from error


def damaged() -> UndecodableError:
    """The error for an archive that is not whole."""
    return UndecodableError(
        "The archive is damaged or incomplete.", "Copy it from its source again, and import again."
    )


def hostile() -> ArchiveError:
    """The error for an archive that no honest program writes."""
    return ArchiveError(
        "The archive is built to write outside of its folder or to mislead the program that reads it.",
        "Ask where it comes from; unpack it yourself and import the folder if you trust it.",
    )


def too_large() -> ArchiveError:
    """The error for an archive of next to nothing that unpacks to very much."""
    return ArchiveError(
        "The archive unpacks to far more than one of its size does that holds images.",
        "Ask where it comes from; unpack it yourself and import the folder if you trust it.",
    )
