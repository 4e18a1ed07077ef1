"""Archives of mammograms, unpacked into a private folder that is gone afterwards.

Zip (stored and deflated, also beyond 4 GiB) and tar (plain, gzip, bzip2, xz) are told by content. Nothing in
an archive is believed:

1. its members: regular files alone are written, and as such; links and devices are passed over;
2. its names: none leads out of the folder, none replaces a file; a number stands in where one is unusable;
3. its size: what it unpacks to is bounded by its own size and by the free disk space;
4. its wholeness: one that is damaged anywhere is refused, since nobody could say what is missing.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

from client.intake.candidates import Progress
from client.intake.exclusions import Reason, refusal
from client.intake.forward_reader import CHUNK_BYTES, ForwardReader
from client.intake.listing import MASKS_FOLDER, is_folder
from client.intake.recognition import NotRegularError, open_regular
from client.intake.unpacking import Unpacking, damaged, hostile, too_large
from shared.errors import ArchiveError, IntakeError, StoreError
from shared.files import make_private_folder

PREFIX = "archive-"
ZIP_STARTS = (b"PK\3\4", b"PK\5\6")
COMPRESSIONS: Mapping[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)
"""What decompressors raise; an OSError with a number is the operating system's, one without is theirs."""
ENCRYPTED = 0x1
"""General purpose bit flag of a zip's member (APPNOTE 4.4.4)."""
ADDED_BY_MACOS = "__MACOSX"


def is_archive(path: Path) -> bool:
    """Whether the file is a zip or tar, whatever its name; what is compressed and damaged may be one.

    Raises
    ------
    IntakeError
        It cannot be read.
    """
    try:
        with open_regular(path) as file:
            return _is_zip(file) or _opened_tar(file) is not None
    except NotRegularError:
        return False
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise refusal(Reason.UNREADABLE) from error
        return True


@contextmanager
def unpacked(path: Path, spool: Path, progress: Progress) -> Iterator[Path]:
    """The folder that an archive holds, for as long as the block lasts.

    Parameters
    ----------
    spool
        Where it is unpacked, in a new folder that its owner alone may read.
    progress
        Told how many megabytes of the archive are read.

    Raises
    ------
    IntakeError
        The file cannot be read, or is no archive.
    ArchiveError
        The archive is encrypted, or built to do harm.
    UndecodableError
        The archive is damaged.
    StoreError
        The disk is full, or refuses. Nothing is left behind.
    """
    make_private_folder(spool)
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=spool))
    except OSError as error:
        raise StoreError("The archive cannot be unpacked here.", "Check the home folder's disk.") from error
    try:
        _unpack(path, folder, progress)
        yield _content(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(path: Path, folder: Path, progress: Progress) -> None:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            unpacking = Unpacking(folder, size, lambda: progress(_megabytes(file.tell()), _megabytes(size)))
            if _is_zip(file):
                _unzip(file, unpacking)
            elif (tar := _opened_tar(file)) is not None:
                _untar(tar, unpacking)
            else:
                raise _no_archive()
    except (IntakeError, StoreError):
        raise
    except NotRegularError as error:
        raise _no_archive() from error
    except OSError as error:
        raise damaged() if error.errno is None else refusal(Reason.UNREADABLE) from error
    # A damaged archive can make the libraries raise anything (4.).
    except Exception as error:
        raise damaged() from error


def _megabytes(size_bytes: int) -> int:
    return -(-size_bytes // 1_000_000)


def _is_zip(file: BufferedReader) -> bool:
    file.seek(0)
    return file.read(4) in ZIP_STARTS


def _opened_tar(file: BufferedReader) -> IO[bytes] | None:
    """The tar's bytes from their beginning, decompressed; None if it is no tar.

    Raises the decompressor's errors if the beginning is damaged.
    """
    file.seek(0)
    start = file.read(tarfile.BLOCKSIZE)
    opened = next((one for magic, one in COMPRESSIONS.items() if start.startswith(magic)), None)
    if opened is not None:
        file.seek(0)
        with opened(file) as stream:
            start = stream.read(tarfile.BLOCKSIZE)
    file.seek(0)
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return None
    return file if opened is None else cast("IO[bytes]", opened(file))


def _unzip(file: BufferedReader, unpacking: Unpacking) -> None:
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        members = [member for member in archive.infolist() if _is_regular(member)]  # 1.
        if any(member.flag_bits & ENCRYPTED for member in members):
            raise ArchiveError(
                "The archive is encrypted.", "Unpack it with its password and import the folder."
            )
        if any(member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} for member in members):
            raise ArchiveError(
                "The archive is compressed in a way that cannot be read here.",
                "Unpack it and import the folder, or pack it as a plain zip or tar.",
            )
        unpacking.expect(sum(member.file_size for member in members))  # 3.
        for member in members:
            with archive.open(member) as stream:
                unpacking.put(member.filename, stream, member.file_size)


def _is_regular(member: zipfile.ZipInfo) -> bool:
    # The upper half holds the mode where the writer knew of modes, else zero.
    kind = stat.S_IFMT(member.external_attr >> 16)
    return not member.is_dir() and kind in {0, stat.S_IFREG}


def _untar(tar: IO[bytes], unpacking: Unpacking) -> None:
    reader = ForwardReader(tar, unpacking.limit_bytes, beyond=too_large, astray=hostile)  # 3.
    with tarfile.TarFile(fileobj=cast("IO[bytes]", reader), errors="surrogateescape") as archive:
        while (member := archive.next()) is not None:
            cast("Any", archive).members.clear()  # they would all be kept in memory
            stream = archive.extractfile(member) if member.isreg() else None  # 1.
            if stream is None:
                continue
            try:
                name = tarfile.data_filter(member, str(unpacking.folder)).name  # 2.
            except tarfile.FilterError as error:
                raise hostile() from error
            unpacking.put(name, stream, member.size)
    # 4. tarfile takes a broken header for the end, which is a block of zeros.
    if reader.last_read != bytes(tarfile.BLOCKSIZE):
        raise damaged()
    while reader.read(CHUNK_BYTES):
        pass  # up to the check sums behind the tar


def _content(folder: Path) -> Path:
    """The folder that was packed, where its own name was packed with it."""
    while True:
        inside = [one for one in folder.iterdir() if one.name != ADDED_BY_MACOS]
        if len(inside) != 1 or inside[0].name == MASKS_FOLDER or not is_folder(inside[0]):
            return folder
        folder = inside[0]


def _no_archive() -> IntakeError:
    return IntakeError("The file is no zip or tar archive.", "Name a folder or such an archive.")
