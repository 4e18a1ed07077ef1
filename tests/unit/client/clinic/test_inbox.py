"""The clinic's inbox: what it takes in, how much of it at most, and how long it knows of it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from client.catalog import Catalog
from client.clinic.inbox import Inbox
from client.dicom_node.reception import ReceivedInstance
from shared.errors import StoreError

NUM_SENDERS, MOST = 8, 3


def arrived(folder: Path) -> ReceivedInstance:
    """A header of a mammogram, of a study of its own."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    header.SOPInstanceUID, header.StudyInstanceUID = generate_uid(), generate_uid()
    header.PatientID = "P1"
    path = folder / f"{header.SOPInstanceUID}.dcm"
    header.save_as(path, enforce_file_format=True)
    return ReceivedInstance(
        path=path,
        sop_class_uid=header.SOPClassUID,
        sop_instance_uid=header.SOPInstanceUID,
        ae_title="MODALITY",
    )


def test_flooding_as_many_senders_at_once_get_no_more_in_than_may_wait(tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "home") as catalog:
        inbox = Inbox(tmp_path / "inbox", catalog.clinic, catalog.pseudonyms(), max_images=MOST)
        instances = [arrived(tmp_path) for _ in range(NUM_SENDERS)]
        together = threading.Barrier(NUM_SENDERS)

        def send(instance: ReceivedInstance) -> bool:
            together.wait()
            try:
                inbox.take_in(instance)
            except StoreError:
                return False
            return True

        with ThreadPoolExecutor(NUM_SENDERS) as senders:
            taken = list(senders.map(send, instances))

        assert taken.count(True) == MOST
        assert catalog.clinic.num_images() == MOST
        # Who was refused has its image still, and sends it again.
        assert [instance.path.exists() for instance in instances] == [not one for one in taken]
        assert len(list((tmp_path / "inbox").iterdir())) == MOST


def test_which_images_were_taken_in_is_forgotten_in_time(tmp_path: Path) -> None:
    with Catalog.open(tmp_path / "home") as catalog:
        pseudonyms = catalog.pseudonyms()
        instance = arrived(tmp_path)
        Inbox(tmp_path / "inbox", catalog.clinic, pseudonyms, max_images=MOST).take_in(instance)
        name, today = pseudonyms.source(instance.sop_instance_uid), datetime.now(UTC).date()

        catalog.clinic.forget_known(before=today)
        assert catalog.clinic.is_known(name)

        catalog.clinic.forget_known(before=today + timedelta(days=1))
        assert not catalog.clinic.is_known(name)
