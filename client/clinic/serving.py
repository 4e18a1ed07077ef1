"""The clinic's DICOM node: images come in, exams are measured with a warm model, results go to the archive.

Three parts that know each other by the queue alone: the node's threads take images in, `serve` measures one
exam after the other, a thread sends. What was acknowledged survives the end of the process at any moment:
an exam that was cut short is measured again, and its objects have the same identifiers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from client.annotation.dicom_seg import read_source
from client.catalog import Catalog
from client.clinic.examination import DrawnObject, Examination, measured
from client.clinic.finding import Diverting, Finding
from client.clinic.following import following
from client.clinic.identity import ModelIdentity
from client.clinic.inbox import Inbox
from client.clinic.kept import (
    arriving_folder,
    clinic_folder,
    found_folder,
    inbox_folder,
    outbox_folder,
    tidy_up,
)
from client.clinic.outbox import Outbox
from client.clinic.settings import ClinicSettings
from client.dicom_node.node import DicomNode
from client.dicom_node.settings import DicomNodeSettings
from client.dicom_node.spool import Spool
from client.home import SiteHome
from client.inference.reading import ImageFile, ReadImage, read_file
from client.intake.candidates import Refusal
from client.intake.exclusions import Reason
from client.intake.workers import Failure, Workers
from client.models import in_use, require_released
from client.pacs.archive import Archive
from client.pacs.dimse import Listening
from client.pacs.settings import PacsSettings
from client.published import hear_now
from client.store.clinic import WaitingExam
from client.store.models import Models
from client.store.opening import open_site_store
from client.using import UsableModel, load_model
from shared.errors import MammofedError, UndecodableError
from shared.files import hold_folder, make_private_folder

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.1
HEAR_EVERY_S = 60.0
FORGET_EVERY_S = 3600.0
AFTER_TROUBLE_S = 2.0
PUT_OFF_S = 600.0
_MB = 1_000_000

OpenArchive = Callable[[Listening], Archive]
"""Opens an archive whose C-MOVE finds this node listening already."""

Reading = Workers[ImageFile, ReadImage | Refusal]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredExam:
    """What became of an exam: numbers alone."""

    num_images: int
    num_measured: int
    num_objects: int


def serve(
    home: SiteHome,
    settings: ClinicSettings,
    node: DicomNodeSettings,
    pacs: PacsSettings,
    *,
    find_in: OpenArchive | None = None,
    on_ready: Callable[[], None],
    on_exam: Callable[[MeasuredExam], None],
    should_stop: Callable[[], bool],
) -> None:
    """Run until told to stop; what waits then is there at the next start.

    Parameters
    ----------
    find_in
        Opens the archive that is looked through for new mammograms; None is what is sent here alone.

    Raises
    ------
    NotFoundError, TrustError
        No model is in use, or it is not released.
    ConfigError
        The node cannot listen, or no process can be started here.
    HomeError
        It is already running with this home.
    StoreError
        The disk refuses.
    """
    folder = clinic_folder(home.folder)
    make_private_folder(folder)
    with hold_folder(folder, "The DICOM node is already running with this home folder."):
        clinic = _Clinic(home, settings)
        tidy_up(home.folder, clinic.queue)
        clinic.current_model()
        spool = Spool(arriving_folder(home.folder), min_free_bytes=node.min_free_mb * _MB)
        workers = home.settings().intake.workers
        ended = threading.Event()
        incoming = Diverting(clinic.inbox.take_in)
        finding = None if find_in is None else clinic.finding(find_in(incoming.listening))
        with Workers(read_file, number=workers) as reading, DicomNode(node, spool, incoming.take_in):
            threads = [
                _repeat("deliver", lambda: clinic.deliver(pacs), ended, every_s=LOOK_EVERY_S),
                _repeat("hear", clinic.hear, ended, every_s=HEAR_EVERY_S),
                _repeat("forget", clinic.forget, ended, every_s=FORGET_EVERY_S),
            ]
            if finding is not None:
                look = partial(_look, finding, ended.is_set)
                threads.append(_repeat("find", look, ended, every_s=settings.find_every_s))
            try:
                on_ready()
                _measure_until(should_stop, clinic, reading, on_exam)
            finally:
                ended.set()
                for thread in threads:
                    thread.join()


def _look(finding: Finding, should_stop: Callable[[], bool]) -> None:
    if num_new := finding.look(today=date.today(), should_stop=should_stop):
        log.info("%d new images were found in the archive", num_new)


def _measure_until(
    should_stop: Callable[[], bool],
    clinic: _Clinic,
    reading: Reading,
    on_exam: Callable[[MeasuredExam], None],
) -> None:
    said = ""
    while not should_stop():
        try:
            exam = clinic.next_exam()
            if exam is not None:
                measured_exam = clinic.measure(exam, reading)
                if measured_exam is not None:
                    on_exam(measured_exam)
                said = ""
                continue
        except MammofedError as error:
            # Without a model or a disk the images wait; whoever mends it need not start anew.
            if error.message != said:
                log.error("%s %s", error.message, error.hint)
                said = error.message
            time.sleep(AFTER_TROUBLE_S)
        time.sleep(LOOK_EVERY_S)


class _Clinic:
    """The parts of one home, opened."""

    def __init__(self, home: SiteHome, settings: ClinicSettings) -> None:
        engine = open_site_store(home.folder)
        catalog = Catalog(engine, home.folder)
        self._home = home
        self._settings = settings
        self._log = catalog.log
        self._catalog = catalog
        self._pseudonyms = catalog.pseudonyms()
        self._models = Models(engine)
        self._loaded: tuple[Path, UsableModel] | None = None
        self.queue = catalog.clinic
        self.inbox = Inbox(
            inbox_folder(home.folder), self.queue, self._pseudonyms, max_images=settings.max_images
        )
        self.outbox = Outbox(outbox_folder(home.folder), self.queue, self._models)

    def finding(self, archive: Archive) -> Finding:
        """What looks the archive through for this node."""
        assert self._settings.find_in is not None  # else there is no archive to open
        return Finding(
            archive=archive,
            name=self._settings.find_in,
            folder=found_folder(self._home.folder),
            settings=self._settings,
            queue=self.queue,
            pseudonyms=self._pseudonyms,
            take_in=self.inbox.take_in,
            is_withdrawn=self._catalog.is_withdrawn,
        )

    def current_model(self) -> UsableModel:
        """The model in use, loaded when it has changed; it must be released. Raises as `serve`."""
        folder = in_use(self._home)
        if self._loaded is None or self._loaded[0] != folder:
            self._loaded = (folder, load_model(self._home, folder))
            log.info("Exams are measured with %s", self._loaded[1].package.manifest.model_id)
        model = self._loaded[1]
        require_released(self._models, model.package)
        return model

    def next_exam(self) -> WaitingExam | None:
        """The exam to measure next; None while there is none, or too much waits for the archive."""
        if self.queue.num_objects() >= self._settings.max_objects:
            return None
        return self.queue.oldest_exam(quiet_since=time.time() - self._settings.quiet_s)

    def measure(self, exam: WaitingExam, reading: Reading) -> MeasuredExam | None:
        """Measure an exam and put its objects into the queue. Raises MammofedError; then it waits on.

        None of one whose patient has withdrawn meanwhile, and of one that makes something fail that should
        not: it is put off, so that those after it do not wait.
        """
        files = list[str]()
        try:
            done = self._measure(exam, reading, files)
        except BaseException as error:
            self._drop(files)
            if isinstance(error, MammofedError) or not isinstance(error, Exception):
                raise
            log.exception("Measuring an exam failed; it is tried again in %.0f s", PUT_OFF_S)
            self.queue.put_off_exam(exam.exam, until=time.time() + PUT_OFF_S)
            return None
        self._drop(files)
        for name in set(exam.instances) - self.queue.files():
            self.inbox.path(name).unlink(missing_ok=True)
        return done

    def _measure(self, exam: WaitingExam, reading: Reading, files: list[str]) -> MeasuredExam | None:
        model = self.current_model()
        identity = ModelIdentity.of(model.package)
        follow_up = following(self._catalog, self._home.settings().follow_up)
        examination = Examination(model=identity, follow_up=follow_up)
        images = [ImageFile(number, self.inbox.path(name)) for number, name in enumerate(exam.instances, 1)]
        for image, read in reading.map(images):
            outcome = Reason.UNDECODABLE if isinstance(read, Failure) else measured(model, read)
            try:
                drawn = examination.add(read_source(image.path), outcome)
            except UndecodableError as error:
                log.error("An image is in no report: %s", error.message)
                continue
            files.extend(self._keep(one) for one in drawn)
        try:
            if examination.images:
                files.append(self._keep(examination.report()))
        except UndecodableError as error:
            log.error("An exam has no report: %s", error.message)
        num_measured = examination.num_measured
        now = time.time()
        if num_measured:
            self._log.append(
                model.used(num_images=num_measured), actor=self._home.membership().site_id, at=now
            )
        if not self.queue.finish_exam(exam, files, manifest_sha256=identity.manifest_sha256, at=now):
            return None
        return MeasuredExam(num_images=len(exam.instances), num_measured=num_measured, num_objects=len(files))

    def _keep(self, drawn: DrawnObject) -> str:
        name = self._pseudonyms.source(drawn.sop_uid)
        self.outbox.put(name, drawn.content)
        return name

    def _drop(self, files: Sequence[str]) -> None:
        """Delete those objects that do not wait: the exam failed, or its patient has withdrawn."""
        for name in set(files) - self.queue.files():
            self.outbox.path(name).unlink(missing_ok=True)

    def deliver(self, pacs: PacsSettings) -> None:
        """Send what is due. Raises PacsError."""
        self.outbox.send_due(pacs, now=time.time())

    def forget(self) -> None:
        """Know no more which images were taken in long ago. Raises StoreError."""
        self.queue.forget_known(before=date.today() - timedelta(days=self._settings.remembered_days))

    def hear(self) -> None:
        """Ask the coordinator for its models. Raises MammofedError."""
        for one in hear_now(self._home, self._models, at=time.time()):
            log.error("The model %s was revoked: %s", one.model_id, one.reason)


def _repeat(
    name: str, task: Callable[[], None], ended: threading.Event, *, every_s: float
) -> threading.Thread:
    """A thread that does a task again and again; trouble is said once and waited out."""

    def run() -> None:
        said = ""
        while not ended.is_set():
            pause_s = every_s
            try:
                task()
                said = ""
            except MammofedError as error:
                if error.message != said:
                    log.error("%s %s", error.message, error.hint)
                    said = error.message
                pause_s = max(every_s, AFTER_TROUBLE_S)
            except Exception:
                # This thread must not end: what waits would wait unnoticed.
                log.exception("The thread '%s' has failed and goes on", name)
                pause_s = max(every_s, AFTER_TROUBLE_S)
            ended.wait(pause_s)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
