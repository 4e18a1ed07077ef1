"""Where originals lie in the home while they come in, and how they go again: they name their patients.

    incoming/unpacked      an archive, for as long as its import lasts
    incoming/pulled        one patient, for as long as her import lasts
    incoming/received      what was sent here, until it is imported
    incoming/quarantined   what was sent here and is broken, so that it can be mended

What a killed process leaves in the first is removed by the next change of the catalog, in the other two it is
gone on with by the next pull or reception. A withdrawal of consent reaches all of them.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from shared.errors import StoreError
from shared.files import BusyError, hold_folder, make_private_folder

INCOMING_FOLDER = "incoming"
MAX_QUARANTINED_BYTES = 4 << 30
"""What is beyond is deleted, oldest first: some sixty of the largest mammograms show what is wrong."""


def unpacked_folder(home: Path) -> Path:
    """Where archives are unpacked, one at a time."""
    return home / INCOMING_FOLDER / "unpacked"


def pulled_folder(home: Path) -> Path:
    """Where a pull fetches to."""
    return home / INCOMING_FOLDER / "pulled"


def received_folder(home: Path) -> Path:
    """Where our application entity receives."""
    return home / INCOMING_FOLDER / "received"


def quarantined_folder(home: Path) -> Path:
    """Where broken files are kept that nobody else has."""
    return home / INCOMING_FOLDER / "quarantined"


def remove_unpacked(home: Path) -> None:
    """Remove what an import that was killed had unpacked; for the one process that may change the catalog.

    Raises
    ------
    StoreError
        The disk refuses.
    """
    _remove(unpacked_folder(home), lambda _: True)


def remove_originals(home: Path, concerns: Callable[[Path], bool]) -> None:
    """Remove files that came in and are no examples; a pull or reception that is running removes its own.

    Parameters
    ----------
    concerns
        Whether a file that was sent here is to go. What was pulled goes in any case: the archive has it.

    Raises
    ------
    StoreError
        The disk refuses.
    """
    remove_unpacked(home)
    for folder, goes in ((pulled_folder(home), lambda _: True), (received_folder(home), concerns)):
        with contextlib.suppress(BusyError):
            if folder.is_dir():
                with hold_folder(folder):
                    _remove(folder, goes)
    _remove(quarantined_folder(home), concerns)


def quarantine(home: Path, files: Iterable[Path], *, max_bytes: int = MAX_QUARANTINED_BYTES) -> None:
    """Move broken files, whose names must be our own, to where they are kept.

    Raises
    ------
    StoreError
        The disk refuses.
    """
    folder = quarantined_folder(home)
    make_private_folder(folder)
    with _disk():
        for file in files:
            file.rename(folder / file.name)
        kept = 0
        for file in sorted(_files(folder), key=lambda one: one.stat().st_mtime_ns, reverse=True):
            kept += file.stat().st_size
            if kept > max_bytes:
                file.unlink()


def _remove(folder: Path, goes: Callable[[Path], bool]) -> None:
    with _disk():
        for file in _files(folder):
            if goes(file):
                file.unlink(missing_ok=True)
        for one in folder.glob("*"):
            if one.is_dir() and not _files(one):
                shutil.rmtree(one)


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.name != ".lock" and not file.is_dir()]


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"Files that came in cannot be removed or kept: {error.strerror}.",
            "Correct the permissions of the folder `incoming` in the home folder, or free disk space.",
        ) from error
