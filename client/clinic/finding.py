"""Mammograms that nobody has sent: the archive is asked for new ones, which go the way of those that come.

What was taken in once, sent or found, is known by its keyed hash and not fetched again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from pydicom.filereader import read_file_meta_info

from client.clinic.settings import ClinicSettings
from client.dicom_node.reception import OnInstance, ReceivedInstance
from client.dicom_node.spool import Spool
from client.intake.patients import patient_of
from client.intake.pseudonyms import Pseudonyms
from client.pacs.archive import Archive, Query
from client.store.clinic import ClinicQueue
from shared.errors import PacsError, StoreError
from shared.files import make_private_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One archive, looked through again and again.

    Attributes
    ----------
    folder
        Where found images lie until they are taken in.
    take_in
        As for images that are sent.
    is_withdrawn
        Whether a patient, by pseudonym, has withdrawn.
    """

    archive: Archive
    name: str
    folder: Path
    settings: ClinicSettings
    queue: ClinicQueue
    pseudonyms: Pseudonyms
    take_in: OnInstance
    is_withdrawn: Callable[[str], bool]
    _looked_into: dict[str, int] = field(default_factory=dict, repr=False)

    def look(self, *, today: date, should_stop: Callable[[], bool]) -> int:
        """Fetch what is new, study by study while there is room in the queue; how many images came.

        A study whose number of instances is as it was is not asked for again: looks are frequent, and an
        archive has other things to do.

        Raises
        ------
        PacsError
            The archive does not answer or refuses; what has come is taken in.
        StoreError
            The disk refuses.
        """
        first = today - timedelta(days=self.settings.find_days - 1)
        make_private_folder(self.folder)
        num_new = self._take_fetched()
        studies = self.archive.find(Query(from_date=first, until_date=today))
        for gone in self._looked_into.keys() - {study.study_uid for study in studies}:
            del self._looked_into[gone]
        for study in studies:
            if should_stop() or self.queue.num_images() >= self.settings.max_images:
                break
            if (
                study.num_instances is not None
                and self._looked_into.get(study.study_uid) == study.num_instances
            ):
                continue
            if study.patient_id and self.is_withdrawn(self.pseudonyms.patient(patient_of(study.patient_id))):
                continue
            report = self.archive.fetch(study, self.folder, self._is_known)
            num_new += self._take_fetched()
            is_done = not report.failed and not any(self.folder.glob("*.dcm"))
            if is_done and study.num_instances is not None:
                self._looked_into[study.study_uid] = study.num_instances
        return num_new

    def _is_known(self, sop_uid: str) -> bool:
        return self.queue.is_known(self.pseudonyms.source(sop_uid))

    def _take_fetched(self) -> int:
        """Hand over what lies in the folder; what there is no room for stays for the next look."""
        num_taken = 0
        for file in sorted(self.folder.glob("*.dcm")):
            try:
                meta = read_file_meta_info(file)
                instance = ReceivedInstance(
                    path=file,
                    sop_class_uid=str(meta.MediaStorageSOPClassUID),
                    sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
                    ae_title=self.name,
                )
                self.take_in(instance)
            except StoreError:
                break
            # A file that breaks the standard can make the reader raise anything.
            except Exception:  # noqa: BLE001
                log.error("An image that was found cannot be read")
                file.unlink(missing_ok=True)
                continue
            num_taken += 1
        return num_taken


class Diverting:
    """Our application entity's instances: to whoever has asked for one by C-MOVE, and else to the inbox."""

    def __init__(self, otherwise: OnInstance) -> None:
        self._otherwise = otherwise
        self._asking: OnInstance | None = None
        self._lock = threading.Lock()

    @property
    def disk_refused(self) -> bool:
        """The node tells its own sender."""
        return False

    def take_in(self, instance: ReceivedInstance) -> None:
        """Hand an instance over. Raises as those who take it."""
        with self._lock:
            asking = self._asking
            if asking is not None:
                try:
                    asking(instance)
                except PacsError:  # not what was asked for
                    pass
                else:
                    return
        self._otherwise(instance)

    @contextlib.contextmanager
    def listening(self, _spool: Spool, asking: OnInstance) -> Iterator[Diverting]:
        """A `client.pacs.dimse.Listening`."""
        self._asking = asking
        try:
            yield self
        finally:
            self._asking = None
