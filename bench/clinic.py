"""From C-STORE to stored objects: an exam of four 4,700 x 2,900 views through the clinic's DICOM node.

`OMP_NUM_THREADS=2 python -m bench.clinic`: phantoms at 0.05 mm as JPEG 2000 (lossless), an untrained model of
the default plan, and an archive of pynetdicom's on loopback. The clock runs from the first image that is
sent to the last object that the archive has stored; the node's pause for late images is in it.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.transport import ThreadedAssociationServer

from bench.published_model import join, publish
from client.clinic.serving import serve
from client.clinic.settings import ClinicSettings
from client.dicom_node.contexts import separate_contexts
from client.dicom_node.settings import DicomNodeSettings
from client.pacs.settings import PacsSettings
from client.store.models import Models
from client.store.opening import open_site_store
from deploy.demo.federation import free_ports
from deploy.demo.phantoms import HOLOGIC, write_hospital
from shared.package import MANIFEST, SIGNATURE
from shared.plan import Plan, RoundsPlan
from shared.published import ModelState, PublishedModel, PublishedModels
from shared.transfer.blob_ref import BlobRef
from shared.trust.keys import SigningKey

ROWS, COLUMNS, SPACING_MM = 4700, 2900, 0.05
PLAN = Plan(name="bench", rounds=RoundsPlan(count=1))
OBJECTS = 9
"""Of an exam: four segmentations, four overlays, one report."""
LOOPBACK = "127.0.0.1"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.clinic")
    parser.add_argument("--repeat", type=int, default=3, help="exams, one after the other (default 3)")
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as folder:
        home = join(Path(folder, "home"), key := SigningKey.generate())
        package = publish(home.models / "bench-1", key, plan=PLAN, model_id="bench-1")
        manifest, signature = (BlobRef.of((package / name).read_bytes()) for name in (MANIFEST, SIGNATURE))
        released = PublishedModel(
            model_id="bench-1",
            state=ModelState.RELEASED,
            manifest=manifest,
            signature=signature,
            created_at=time.time(),
        )
        models = Models(open_site_store(home.folder))
        models.hear(PublishedModels(models=(released,)), actor="bench", at=time.time())
        models.install("bench-1", manifest.digest, actor="bench", at=time.time())
        exam = _exam(Path(folder, "hospital"))
        size_mb = sum(image.stat().st_size for image in exam) / 1e6
        print(
            f"4 x {ROWS} x {COLUMNS} pixels, {size_mb:.1f} MB; {PLAN.model.network}, {PLAN.model.size}; "
            f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
        )
        node_port = free_ports(2)
        archive_port = node_port + 1
        stored = threading.Semaphore(0)
        archive = _archive(archive_port, stored)
        ready, stopping = threading.Event(), threading.Event()
        clinic = ClinicSettings(send_to="archive")
        node = DicomNodeSettings(ae_title="MAMMOFED", port=node_port, peers={"MODALITY": [LOOPBACK]})
        pacs = PacsSettings(ae_title="ARCHIVE", host=LOOPBACK, port=archive_port)
        thread = threading.Thread(
            target=serve,
            args=(home, clinic, node, pacs),
            kwargs={
                "on_ready": ready.set,
                "on_exam": lambda _exam: None,
                "should_stop": stopping.is_set,
            },
        )
        thread.start()
        ready.wait()
        for number in range(1, repeat + 1):
            cpu_s, began = time.process_time(), time.perf_counter()
            _send(exam, node_port)
            for _ in range(OBJECTS):
                stored.acquire()
            wall_s = time.perf_counter() - began
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"exam {number}: {wall_s:.1f} s from C-STORE to {OBJECTS} stored objects, of which "
                f"{clinic.quiet_s:g} s for late images; {time.process_time() - cpu_s:.1f} s CPU of the node "
                f"beside the readers, {peak:.0f} MiB at most, load {os.getloadavg()[0]:.1f}"
            )
        stopping.set()
        thread.join()
        archive.shutdown()


def _exam(folder: Path) -> list[Path]:
    """Both views of one breast, and the same as another's, which is as much work."""
    vendor = replace(HOLOGIC, field_mm=(ROWS * SPACING_MM, COLUMNS * SPACING_MM))
    written = write_hospital(
        folder, vendor=vendor, patients=1, seed=3, density_mix={"c": 1.0}, spacing_mm=SPACING_MM
    )
    views = [one.image_path for one in written]
    for path in list(views):
        image = dcmread(path)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.ImageLaterality = "L" if image.ImageLaterality == "R" else "R"
        views.append(path.with_name(f"other-{path.name}"))
        image.save_as(views[-1])
    return views


def _archive(port: int, stored: threading.Semaphore) -> ThreadedAssociationServer:
    def store(event: evt.Event) -> int:
        _ = event.dataset
        stored.release()
        return 0

    entity = AE(ae_title="ARCHIVE")
    entity.supported_contexts = AllStoragePresentationContexts
    server = entity.start_server((LOOPBACK, port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert server is not None
    return server


def _send(exam: list[Path], port: int) -> None:
    entity = AE(ae_title="MODALITY")
    association = entity.associate(LOOPBACK, port, contexts=separate_contexts(), ae_title="MAMMOFED")
    for image in exam:
        if association.send_c_store(dcmread(image)).Status != 0:
            raise SystemExit("The node refuses an image.")
    association.release()


if __name__ == "__main__":
    main()
