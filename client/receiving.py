"""The main flow of receiving: whatever is sent here is imported as soon as the sender pauses, then deleted.

A batch is what has come until then. What a process that was killed has left in the folder is the first batch
of the next.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from client.dicom_node.node import DicomNode
from client.dicom_node.reception import ReceivedInstance
from client.dicom_node.settings import DicomNodeSettings
from client.dicom_node.spool import Spool
from client.incoming import quarantine
from client.intake.listing import list_entries
from shared.errors import EmptySourceError, StoreError
from shared.files import BusyError, hold_folder, make_private_folder

if TYPE_CHECKING:
    from client.intake.importer import ImportReport

QUIET_S = 10.0
_POLL_S = 0.2
_MB = 1_000_000


def receive(
    settings: DicomNodeSettings,
    *,
    folder: Path,
    import_folder: Callable[[Path], ImportReport],
    keep: Callable[[Path, ImportReport], None],
    on_import: Callable[[ImportReport], None],
    should_stop: Callable[[], bool],
    quiet_s: float = QUIET_S,
) -> None:
    """Run our application entity until told to stop; what has come by then is imported first.

    Parameters
    ----------
    folder
        Private folder of this process alone.
    import_folder
        Imports what a folder holds and leaves the folder as it is. If it raises BusyError, it is asked again.
    keep
        Takes what must not be lost out of a folder that was imported; the rest is deleted.
    on_import
        Told of every batch.
    quiet_s
        Pause of the sender after which its batch is imported.

    Raises
    ------
    ConfigError
        The node cannot listen.
    HomeError
        Another process is receiving.
    StoreError
        The disk or the catalog refuses; what has come stays for the next start.
    """
    make_private_folder(folder)
    with hold_folder(folder):
        batches = _Batches(folder)
        spool = Spool(folder / "arriving", min_free_bytes=settings.min_free_mb * _MB)
        with DicomNode(settings, spool, batches.add):
            while True:
                stopping = should_stop()
                if stopping or batches.quiet_for_s() >= quiet_s:
                    _bring_in(batches, import_folder, keep, on_import)
                if stopping:
                    return
                time.sleep(_POLL_S)


def _bring_in(
    batches: _Batches,
    import_folder: Callable[[Path], ImportReport],
    keep: Callable[[Path, ImportReport], None],
    on_import: Callable[[ImportReport], None],
) -> None:
    batch = batches.take()
    if batch is None:
        return
    try:
        report = import_folder(batch)
    except BusyError:
        return  # the batch waits until the other import has ended
    except EmptySourceError:
        pass
    else:
        keep(batch, report)
        on_import(report)
    shutil.rmtree(batch)


def keep_quarantined(home: Path, batch: Path, report: ImportReport) -> None:
    """Keep the broken files of a batch: the sender may not have them any more.

    Raises
    ------
    StoreError
        The disk refuses.
    """
    entries = list_entries(batch)
    broken = {one.archive or one.position for one in report.refusals if one.quarantined}
    quarantine(home, [batch.joinpath(*entries[position - 1].parts) for position in sorted(broken)])


class _Batches:
    """What has come and is not imported yet. Filled by the node's threads, emptied by ours."""

    def __init__(self, folder: Path) -> None:
        self._filling = folder / "batch"
        self._taken = folder / "importing"
        self._lock = threading.Lock()
        self._last_at = float("-inf")
        make_private_folder(self._filling)

    def add(self, instance: ReceivedInstance) -> None:
        """Take an instance out of the spool. Raises StoreError."""
        with self._lock:
            try:
                # The spool's numbers begin anew with each process.
                instance.path.rename(self._filling / f"{time.time_ns()}-{instance.path.name}")
            except OSError as error:
                raise StoreError("A received image cannot be kept.", "Check the disk of the home.") from error
            self._last_at = time.monotonic()

    def quiet_for_s(self) -> float:
        """Seconds since the last instance."""
        return time.monotonic() - self._last_at

    def take(self) -> Path | None:
        """The batch, now closed; None if nothing has come."""
        with self._lock:
            if self._taken.exists():  # a killed process has not finished it
                return self._taken
            if next(self._filling.iterdir(), None) is None:
                return None
            self._filling.rename(self._taken)
            make_private_folder(self._filling)
            return self._taken
