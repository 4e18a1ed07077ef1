"""The clinic's node under a load that it cannot measure as fast as it comes: real process, real C-STORE."""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts

from client.dicom_node.contexts import separate_contexts
from client.dicom_node.reception import OUT_OF_RESOURCES
from deploy.demo.phantoms import HOLOGIC, write_hospital
from tests.integration.orthanc import OUR_TITLE, TITLE, free_port
from tests.integration.test_clinic_node import LOOPBACK, MODALITY, Site, site

__all__ = ["site"]

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
WITHIN_S = 900.0
"""For all of it, on a machine that does much else."""
COMMAND = Path(sys.executable).with_name("mammofed-site")
PATIENT_S = 300
"""Each side with the other: this machine may do much else."""
LARGE = (4700, 2900)
"""Rows and columns of one view: 27 MB as it is sent."""
MAX_IMAGES = 4
NUM_SENDERS, NUM_EXAMS, NUM_VIEWS = 3, 1, 4
"""Each sender sends so many exams of so many views."""
GROWTH_MIB = 96
"""What the node may have grown by while 12 more views came in: less than four of them."""


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """One large view, not compressed."""
    (first, *_) = write_hospital(
        tmp_path_factory.mktemp("hospital"), vendor=HOLOGIC, patients=1, seed=3, density_mix={"c": 1.0}
    )
    image = dcmread(first.image_path)
    small = image.pixel_array
    rows, columns = (np.arange(new) * old // new for new, old in zip(LARGE, small.shape, strict=True))
    image.decompress()
    image.Rows, image.Columns = LARGE
    image.PixelData = small[rows][:, columns].astype(np.uint16).tobytes()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    spacing = [
        float(each) * old / new
        for each, old, new in zip(image.ImagerPixelSpacing, small.shape, LARGE, strict=True)
    ]
    image.ImagerPixelSpacing = [f"{each:.5g}" for each in spacing]
    return image


@contextlib.contextmanager
def archive() -> Iterator[int]:
    """An archive that takes everything and keeps nothing; its port."""

    def store(_event: evt.Event) -> int:
        return 0

    entity = AE(ae_title=TITLE)
    entity.supported_contexts = AllStoragePresentationContexts
    port = free_port()
    server = entity.start_server((LOOPBACK, port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    try:
        yield port
    finally:
        server.shutdown()


@dataclass(kw_only=True)
class Process:
    """The node as a process of its own."""

    port: int
    process: subprocess.Popen[str]
    num_images: list[int] = field(default_factory=list)
    num_measured: list[int] = field(default_factory=list)

    def listen(self, said: queue.Queue[str]) -> None:
        """Follow what it says of each exam, until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = json.loads(line)
            if "listening" in told:
                said.put(line)
            else:
                self.num_images.append(told["images"])
                self.num_measured.append(told["measured"])

    def peak_mib(self) -> float:
        """The most memory that it has held so far, beside the processes that read for it."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("the process has ended")


@contextlib.contextmanager
def running(site: Site, archive_port: int) -> Iterator[Process]:
    port = free_port()
    site.home.settings_file.write_text(
        f"""
        [dicom_node]
        ae_title = "{OUR_TITLE}"
        port = {port}
        peers = {{{MODALITY} = ["{LOOPBACK}"]}}
        min_free_mb = 0
        timeout_s = {PATIENT_S}
        [pacs.archive]
        ae_title = "{TITLE}"
        host = "{LOOPBACK}"
        port = {archive_port}
        [clinic]
        send_to = "archive"
        quiet_s = 0.5
        max_images = {MAX_IMAGES}
        """
    )
    command = [str(COMMAND), "serve-dicom", "--home", str(site.home.folder), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        node, said = Process(port=port, process=process), queue.Queue[str]()
        following = threading.Thread(target=node.listen, args=(said,), daemon=True)
        following.start()
        try:
            said.get(timeout=120)
            yield node
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            following.join(10)


def send(view: Dataset, port: int, num_exams: int) -> int:
    """Send exams of a sender's own, each view until it is taken; how often it was told to come again."""
    image = deepcopy(view)
    image.PatientID = image.PatientName = generate_uid()[-12:]
    entity = AE(ae_title=MODALITY)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENT_S
    association = entity.associate(LOOPBACK, port, contexts=separate_contexts(), ae_title=OUR_TITLE)
    assert association.is_established
    num_refused = 0
    for _ in range(num_exams):
        image.StudyInstanceUID = generate_uid()
        for _ in range(NUM_VIEWS):
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            while (answer := association.send_c_store(image)).get("Status") == OUT_OF_RESOURCES:
                num_refused += 1
                time.sleep(0.25)
            assert answer.get("Status") == 0, f"the association has ended: {association.is_aborted}"
    association.release()
    return num_refused


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.2)


def watch(look: Callable[[], int], ended: threading.Event) -> tuple[threading.Thread, list[int]]:
    """Look again and again; the thread and what it has seen."""
    seen = list[int]()

    def run() -> None:
        while not ended.wait(0.05):
            seen.append(look())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, seen


def test_flooding_a_sender_that_is_faster_than_the_measuring_is_held_back_and_memory_stays_bounded(
    site: Site, view: Dataset
) -> None:
    site.install(1)
    inbox = site.home.folder / "clinic" / "inbox"
    with archive() as archive_port, running(site, archive_port) as node:
        send(view, node.port, 1)
        wait_for(lambda: sum(node.num_images) == NUM_VIEWS and site.queue.num_objects() == 0)
        at_first_mib = node.peak_mib()

        ended = threading.Event()
        watching, waiting = watch(lambda: len(list(inbox.iterdir())), ended)
        with ThreadPoolExecutor(NUM_SENDERS) as senders:
            sending = [senders.submit(send, view, node.port, NUM_EXAMS) for _ in range(NUM_SENDERS)]
            refused = [one.result(WITHIN_S) for one in sending]
        num_sent = NUM_VIEWS * (1 + NUM_SENDERS * NUM_EXAMS)
        wait_for(lambda: sum(node.num_images) >= num_sent and site.queue.num_objects() == 0)
        ended.set()
        watching.join()
        peak_mib = node.peak_mib()

    log.info(
        "%d views of %.0f MB, held back %d times, %d waiting at most; %.0f MiB after one exam, %.0f at last",
        *(num_sent, len(view.PixelData) / 1e6, sum(refused), max(waiting), at_first_mib, peak_mib),
    )
    # Held back, and nothing of what was taken is lost or measured twice.
    assert sum(refused) > 0
    assert max(waiting) == MAX_IMAGES
    assert sum(node.num_images) == sum(node.num_measured) == num_sent
    assert list(inbox.iterdir()) == []
    assert peak_mib - at_first_mib < GROWTH_MIB
