"""What a file is, by its first bytes: cheap enough for every file of an archive, and safe for any of them.

DICOM is told by its magic word (PS3.10 7.1). Files without the preamble, as old archives keep them, must
plainly begin with elements of the groups 0002 or 0008: whole, in ascending order, of even length, three at
the least.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedReader
from itertools import islice
from pathlib import Path

from client.intake.exclusions import Reason, refusal
from shared.errors import IntakeError

HEAD_SIZE_BYTES = 1024
PREAMBLE_SIZE_BYTES = 128
MAGIC = b"DICM"
NUM_TELLING_ELEMENTS = 3
TELLING_GROUPS = frozenset({0x0002, 0x0008})
CLASS_TAGS = frozenset({(0x0002, 0x0002), (0x0008, 0x0016)})
"""Media Storage SOP Class UID and SOP Class UID."""

# PS3.5 7.1.2: those of the first kind have a length of four bytes behind two reserved ones.
LONG_VRS = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)
SHORT_VRS = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL"}
    | {b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}
)
ENCODINGS = (("<", True), ("<", False), (">", True))
"""Byte order, and whether the value representation is written: the three of PS3.5 A."""


class Kind(StrEnum):
    """What the intake tells apart before it reads a header."""

    DICOM = "dicom"
    SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
    DIRECTORY = "1.2.840.10008.1.3.10"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class FileState:
    """Size and time of a file, by which a change is noticed."""

    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """The state that the operating system tells."""
        return cls(status.st_size, status.st_mtime_ns)

    def check(self, path: Path) -> None:
        """Check that the file is still in this state.

        Raises
        ------
        IntakeError
            It has changed, or is gone.
        """
        try:
            status = path.stat()
        except OSError as error:
            raise refusal(Reason.UNREADABLE) from error
        if not stat.S_ISREG(status.st_mode) or FileState.of(status) != self:
            raise IntakeError(
                "The file changed while it was being read.",
                "Import again when nothing writes into the folder any more.",
            )


class NotRegularError(OSError):
    """A folder, pipe, socket or device."""


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a file that is one: opening a pipe could wait for ever, opening a device could do anything.

    Raises
    ------
    NotRegularError
        It is something else.
    OSError
        It cannot be opened.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotRegularError
    # What has become a pipe since is opened without waiting, and left.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise NotRegularError
        yield file


def look_at(path: Path) -> tuple[Kind, FileState]:
    """What a file is, and its state before anything more of it is read; OTHER for what is no regular file.

    Raises
    ------
    IntakeError
        It cannot be read.
    """
    try:
        with open_regular(path) as file:
            return kind_of(file.read(HEAD_SIZE_BYTES)), FileState.of(os.fstat(file.fileno()))
    except NotRegularError:
        return Kind.OTHER, FileState(0, 0)
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error


def kind_of(head: bytes) -> Kind:
    """What a file is that begins with these bytes."""
    if head[PREAMBLE_SIZE_BYTES:].startswith(MAGIC):
        meta = head[PREAMBLE_SIZE_BYTES + len(MAGIC) :]
        return _kind(list(_elements(meta, "<", explicit=True)))
    for order, explicit in ENCODINGS:
        elements = list(_elements(head, order, explicit=explicit))
        if _tell(elements):
            return _kind(elements)
    return Kind.OTHER


def _kind(elements: list[tuple[tuple[int, int], bytes]]) -> Kind:
    for tag, value in elements:
        uid = value.rstrip(b"\0 ").decode("latin-1")
        if tag in CLASS_TAGS and uid in {Kind.SEGMENTATION, Kind.DIRECTORY}:
            return Kind(uid)
    return Kind.DICOM


def _tell(elements: list[tuple[tuple[int, int], bytes]]) -> bool:
    first = list(islice(elements, NUM_TELLING_ELEMENTS))
    tags = [tag for tag, _ in first]
    return (
        len(first) == NUM_TELLING_ELEMENTS
        and tags == sorted(set(tags))
        and all(group in TELLING_GROUPS for group, _ in tags)
        and all(len(value) % 2 == 0 for _, value in first)
    )


def _elements(data: bytes, order: str, *, explicit: bool) -> Iterator[tuple[tuple[int, int], bytes]]:
    """Tag and value of the leading elements, as far as they are whole."""
    at = 0
    while at + 12 <= len(data):
        tag: tuple[int, int] = struct.unpack_from(f"{order}HH", data, at)
        vr = data[at + 4 : at + 6]
        if not explicit:
            length, start = struct.unpack_from(f"{order}I", data, at + 4)[0], at + 8
        elif vr in LONG_VRS:
            length, start = struct.unpack_from(f"{order}I", data, at + 8)[0], at + 12
        elif vr in SHORT_VRS:
            length, start = struct.unpack_from(f"{order}H", data, at + 6)[0], at + 8
        else:
            return
        at = start + length
        if at > len(data):
            return
        yield tag, data[start:at]
