"""A DICOMDIR, as on a CD from a hospital: its records are used to find the files, and for nothing else.

It may say anything: files that are missing, files outside of its folder, nothing at all.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from client.intake.exclusions import Reason, refusal
from client.intake.recognition import Kind, look_at, open_regular
from shared.errors import EmptySourceError, IntakeError, UndecodableError

DICOMDIR = "DICOMDIR"
"""The name is fixed (PS3.10 8.6), but for the case that some systems change."""
MAX_SIZE_BYTES = 256 << 20
"""Half a million records; the whole of it is held in memory."""
NOT_IN_USE = 0x0000
SEQUENCE_START = b"\x04\x00\x20\x12SQ\0\0"
"""Directory Record Sequence in explicit VR little endian, which PS3.10 8.6 demands."""
UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """A file that a DICOMDIR names.

    Attributes
    ----------
    parts
        Its path from the DICOMDIR's folder, as it is on the disk, or else as it is written.
    found
        It is there, inside of the folder.
    """

    parts: tuple[str, ...] = field(repr=False)
    found: bool


def is_dicomdir(path: Path) -> bool:
    """Whether a file has the name and the beginning of a DICOMDIR."""
    try:
        return path.name.upper() == DICOMDIR and look_at(path)[0] is Kind.DIRECTORY
    except IntakeError:
        return False


def read_dicomdir(path: Path) -> list[ListedFile]:
    """The files that a DICOMDIR names, each once, in its order.

    Raises
    ------
    EmptySourceError
        The file is no DICOMDIR.
    IntakeError
        It cannot be read.
    UndecodableError
        It is damaged.
    """
    if look_at(path)[0] is not Kind.DIRECTORY:
        raise EmptySourceError("The file is not a DICOMDIR.", "Name the folder with the mammograms.")
    on_disk = _Names()
    return [on_disk.find(path.parent, parts) for parts in dict.fromkeys(_file_ids(path))]


def _file_ids(path: Path) -> list[tuple[str, ...]]:
    """Referenced File ID of every record in use (PS3.3 F.3.2.2)."""
    try:
        with open_regular(path) as file:
            content = file.read(MAX_SIZE_BYTES + 1)
    except OSError as error:
        raise refusal(Reason.UNREADABLE) from error
    if len(content) > MAX_SIZE_BYTES or _is_cut_off(content):
        raise _damaged()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # What is deflated, which PS3.10 8.6 does not allow either, could be of any size in memory.
            if read_file_meta_info(path).TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
                raise _damaged()
            dataset = dcmread(BytesIO(content), specific_tags=["DirectoryRecordSequence"])
            named = [
                record.ReferencedFileID
                for record in dataset.DirectoryRecordSequence
                if record.get("RecordInUseFlag") != NOT_IN_USE and record.get("ReferencedFileID")
            ]
            return [(one,) if isinstance(one, str) else tuple(str(part) for part in one) for one in named]
    # A damaged file can make pydicom raise anything.
    except Exception as error:
        raise _damaged() from error


def _is_cut_off(content: bytes) -> bool:
    """Whether the records end before they should; pydicom gives those that are left."""
    at = content.find(SEQUENCE_START)
    if at < 0 or at + 12 > len(content):
        return True
    (length,) = struct.unpack_from("<I", content, at + 8)
    return bool(length != UNDEFINED_LENGTH and at + 12 + length > len(content))


class _Names:
    """Names as they are on the disk: a CD's upper-case ones may have been copied to lower case."""

    def __init__(self) -> None:
        self._listed: dict[Path, dict[str, str]] = {}

    def find(self, folder: Path, parts: tuple[str, ...]) -> ListedFile:
        """Look for a file by its parts, each of which must be a plain name."""
        if any(part in {"", ".", ".."} or set(part) & set("/\\\0") for part in parts):
            return ListedFile(parts=parts, found=False)
        actual: tuple[str, ...] = ()
        for part in parts:
            name = self._actual(folder.joinpath(*actual), part)
            if name is None:
                return ListedFile(parts=parts, found=False)
            actual += (name,)
        return ListedFile(parts=actual, found=True)

    def _actual(self, folder: Path, name: str) -> str | None:
        if folder not in self._listed:
            try:
                names = sorted(one.name for one in folder.iterdir())
            except OSError:
                names = []
            self._listed[folder] = {one.casefold(): one for one in names} | {one: one for one in names}
        return self._listed[folder].get(name) or self._listed[folder].get(name.casefold())


def _damaged() -> UndecodableError:
    return UndecodableError(
        "The DICOMDIR is damaged or incomplete.",
        "Name the folder that it lies in instead; all files of the folder are then looked at.",
    )
