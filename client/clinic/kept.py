"""What the DICOM node keeps on the disk, and how it goes: its files are named by rows, or by nobody.

clinic/arriving   an image that is coming
clinic/found      images that were fetched from the archive, until they are in the inbox
clinic/inbox      images that were acknowledged, until their exam is measured
clinic/outbox     objects, until the archive has stored them
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from client.store.clinic import ClinicQueue
from shared.errors import StoreError
from shared.files import BusyError, hold_folder


def clinic_folder(home: Path) -> Path:
    """Where the node keeps what names patients; whoever holds it is the node."""
    return home / "clinic"


def arriving_folder(home: Path) -> Path:
    """Where an image runs in."""
    return clinic_folder(home) / "arriving"


def found_folder(home: Path) -> Path:
    """Where images lie that were fetched."""
    return clinic_folder(home) / "found"


def inbox_folder(home: Path) -> Path:
    """Where images wait to be measured."""
    return clinic_folder(home) / "inbox"


def outbox_folder(home: Path) -> Path:
    """Where objects wait to be sent."""
    return clinic_folder(home) / "outbox"


def tidy_up(home: Path, queue: ClinicQueue) -> None:
    """Delete files that no row names: what was never acknowledged, or is made again. For the node alone.

    Raises
    ------
    StoreError
        The disk refuses.
    """
    known = queue.files()
    with _disk():
        for folder in (arriving_folder(home), found_folder(home)):
            for file in folder.glob("*"):
                file.unlink(missing_ok=True)
        for folder in (inbox_folder(home), outbox_folder(home)):
            for file in folder.glob("*"):
                if file.stem not in known:
                    file.unlink(missing_ok=True)


def remove_kept(home: Path, queue: ClinicQueue, patient: str | None) -> int:
    """Remove what waits of a patient, or of everybody, beside a node that runs or not; how many files.

    What a running node is receiving or measuring meanwhile it drops itself, when it asks the queue.

    Parameters
    ----------
    patient
        Pseudonym; what does not say whose it is goes along. None is everybody.

    Raises
    ------
    StoreError
        The database or the disk refuses.
    """
    names = queue.withdraw(patient)
    with _disk():
        for name in names:
            for folder in (inbox_folder(home), outbox_folder(home)):
                (folder / f"{name}.dcm").unlink(missing_ok=True)
    with contextlib.suppress(BusyError):
        if clinic_folder(home).is_dir():
            with hold_folder(clinic_folder(home)):
                tidy_up(home, queue)
    return len(names)


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"Files of the clinic's node cannot be removed: {error.strerror}.",
            "Correct the permissions of the folder `clinic` in the home folder.",
        ) from error
