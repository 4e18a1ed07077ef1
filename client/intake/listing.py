"""What lies in a folder or is named by a DICOMDIR, in an order that is the same everywhere.

The place in this order, from 1, is the position by which reports name a file. Links to files are followed.
Links to folders are not: one of them could bring in the images of a whole machine, or lead in a circle.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from client.intake.dicomdir import is_dicomdir, read_dicomdir
from client.intake.exclusions import Reason
from shared.errors import EmptySourceError, IntakeError, UndecodableError

MASKS_FOLDER = "masks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that was found, or should have been there.

    Attributes
    ----------
    parts
        Its path from the folder.
    problem
        Why it cannot be looked at; None where nothing is known against it.
    """

    parts: tuple[str, ...] = field(repr=False)
    problem: Reason | None = None

    @property
    def name(self) -> str:
        """Path from the folder, fit for a terminal. It may name a patient."""
        return os.fsencode(PurePosixPath(*self.parts)).decode("utf-8", "replace")


def is_folder(path: Path) -> bool:
    """Whether it is a folder, or a link to one, that can be reached."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def top_of(path: Path) -> Path:
    """The folder that a source's entries are counted from."""
    return path if is_folder(path) else path.parent


def list_entries(path: Path) -> list[Entry]:
    """Everything in a folder but for its masks, or everything that a DICOMDIR names.

    A DICOMDIR in a folder adds what it names and what is missing, and is itself no entry unless damaged.

    Raises
    ------
    EmptySourceError
        It is neither a folder nor a DICOMDIR.
    IntakeError, UndecodableError
        The DICOMDIR that was named cannot be read, or is damaged.
    """
    if is_folder(path):
        entries = _below(path)
    elif path.exists():
        entries = _named_by(path, ())
    else:
        raise EmptySourceError("There is no such folder of mammograms.", "Check its spelling.")
    return sorted(entries, key=lambda entry: entry.parts)


def walk(folder: Path) -> tuple[list[Path], list[Path]]:
    """All below a folder that is no folder, but for its masks; and the folders that cannot be looked into."""
    found: list[Path] = []
    closed: list[Path] = []
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            with os.scandir(current) as listed:
                for one in listed:
                    if current == folder and one.name == MASKS_FOLDER and is_folder(Path(one.path)):
                        continue
                    lies_here = one.is_dir(follow_symlinks=False)
                    (waiting if lies_here else found).append(Path(one.path))
        except OSError:
            closed.append(current)
    return found, closed


def _below(folder: Path) -> list[Entry]:
    found, closed = walk(folder)
    entries = {parts: Entry(parts=parts) for parts in (path.relative_to(folder).parts for path in found)}
    for path in filter(is_dicomdir, found):
        parts = path.relative_to(folder).parts
        try:
            missing = [one for one in _named_by(path, parts[:-1]) if one.problem]
        except IntakeError as error:
            damaged = isinstance(error, UndecodableError)
            entries[parts] = Entry(parts=parts, problem=Reason.UNDECODABLE if damaged else Reason.UNREADABLE)
        else:
            del entries[parts]
            entries.update({one.parts: one for one in missing})
    return [
        *entries.values(),
        *(Entry(parts=path.relative_to(folder).parts, problem=Reason.UNREADABLE) for path in closed),
    ]


def _named_by(dicomdir: Path, above: tuple[str, ...]) -> list[Entry]:
    return [
        Entry(parts=above + one.parts, problem=None if one.found else Reason.UNREADABLE)
        for one in read_dicomdir(dicomdir)
    ]
