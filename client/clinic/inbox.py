"""Images on their way in: acknowledged when they are in the queue, refused while it is full."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import (
    BreastTomosynthesisImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
)

from client.dicom_node.reception import ReceivedInstance
from client.intake.patients import patient_of
from client.intake.pseudonyms import Pseudonyms
from client.store.clinic import ClinicQueue
from shared.errors import StoreError, UndecodableError
from shared.files import make_private_folder, sync_folder

MEASURED_CLASSES = frozenset(
    {
        DigitalMammographyXRayImageStorageForPresentation,
        DigitalMammographyXRayImageStorageForProcessing,
        BreastTomosynthesisImageStorage,
    }
)
"""Of an exam; two of them get their reason. Who sends whole studies sends our own objects, too."""


class Inbox:
    """The images of one node; safe to fill from several threads.

    Parameters
    ----------
    pseudonyms
        Make of identifiers the names under which studies, images and patients are known here.
    """

    def __init__(self, folder: Path, queue: ClinicQueue, pseudonyms: Pseudonyms, *, max_images: int) -> None:
        make_private_folder(folder)
        self._folder = folder
        self._queue = queue
        self._pseudonyms = pseudonyms
        self._max_images = max_images
        self._one_at_a_time = threading.Lock()

    def take_in(self, instance: ReceivedInstance) -> None:
        """Keep an image; anything else, and images of who has withdrawn, is acknowledged and forgotten.

        Raises
        ------
        StoreError
            Too much waits already, or the disk refuses.
        UndecodableError
            It names no study.
        """
        if instance.sop_class_uid not in MEASURED_CLASSES:
            instance.path.unlink()
            return
        study_uid, patient_id = _study_of(instance.path)
        exam = self._pseudonyms.source(f"{study_uid}\0{patient_id}")
        name = self._pseudonyms.source(instance.sop_instance_uid)
        patient = self._pseudonyms.patient(patient_id) if patient_id else None
        with self._one_at_a_time:  # so that no more wait than may, however many associations send
            if self._queue.num_images() >= self._max_images:
                raise StoreError("Too many images wait to be measured.", "Send the image again later.")
            try:
                instance.path.replace(self.path(name))
                sync_folder(self._folder)
            except OSError as error:
                raise StoreError("A received image cannot be kept.", "Check the disk of the home.") from error
            if not self._queue.take_in(exam, name, patient=patient, at=time.time()):
                self.path(name).unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """Where an image is."""
        return self._folder / f"{name}.dcm"


def _study_of(path: Path) -> tuple[str, str]:
    """Study and patient of an image; the patient is empty where it does not say."""
    try:
        header = dcmread(path, specific_tags=["StudyInstanceUID", "PatientID"], stop_before_pixels=True)
        return str(header.StudyInstanceUID), patient_of(str(header.get("PatientID") or ""))
    # A data set that breaks the standard can make the reader raise anything.
    except Exception as error:
        raise UndecodableError("The image names no study.", "Export it again.") from error
