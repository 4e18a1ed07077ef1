"""The clinic's DICOM node beside a real Orthanc: images in, objects back, equal when opened; and trouble."""

from __future__ import annotations

import contextlib
import io
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pytest
import requests
from highdicom.sr import srread
from pydicom import Dataset, dcmread
from pydicom.uid import ComprehensiveSRStorage, SegmentationStorage, generate_uid
from pynetdicom import AE

from bench.published_model import join, publish
from client.catalog import Catalog
from client.clinic.serving import MeasuredExam, serve
from client.clinic.settings import ClinicSettings
from client.dicom_node.contexts import separate_contexts
from client.dicom_node.reception import OUT_OF_RESOURCES
from client.dicom_node.settings import DicomNodeSettings
from client.home import SiteHome
from client.inference.reading import read_image
from client.pacs.archive import Archive
from client.pacs.dimse import Listening
from client.pacs.opening import open_archive
from client.pacs.settings import PacsSettings
from client.settings import SiteSettings
from client.store.clinic import ClinicQueue
from client.store.models import Models
from client.store.opening import open_site_store
from client.using import load_model, segment
from client.withdrawal import forget, withdraw
from deploy.demo.phantoms import HOLOGIC, write_hospital
from shared.errors import NotFoundError, TrustError
from shared.package import MANIFEST, SIGNATURE
from shared.published import ModelState, PublishedModel, PublishedModels
from shared.transfer.blob_ref import BlobRef
from shared.trust.keys import SigningKey
from tests.integration.orthanc import (
    OUR_TITLE,
    TITLE,
    BadLine,
    Orthanc,
    free_port,
    needs_orthanc,
    running_orthanc,
)

LOOPBACK = "127.0.0.1"
MODALITY = "MODALITY"
WITHIN_S = 120.0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both breasts of one woman, two views each."""
    folder = tmp_path_factory.mktemp("hospital")
    one_breast = [
        one.image_path
        for one in write_hospital(folder, vendor=HOLOGIC, patients=1, seed=3, density_mix={"c": 1.0})
    ]
    other_breast = []
    for path in one_breast:
        image = dcmread(path)
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        side = "L" if image.ImageLaterality == "R" else "R"
        image.ImageLaterality = side
        image.save_as(path.with_name(f"other-{path.name}"))
        other_breast.append(path.with_name(f"other-{path.name}"))
    return [*one_breast, *other_breast]


@dataclass(kw_only=True)
class Site:
    """A site with a model in use."""

    home: SiteHome
    key: SigningKey
    told: list[PublishedModel] = field(default_factory=list)

    @property
    def models(self) -> Models:
        return Models(open_site_store(self.home.folder))

    @property
    def queue(self) -> ClinicQueue:
        return ClinicQueue(open_site_store(self.home.folder))

    def install(self, number: int, state: ModelState = ModelState.RELEASED) -> None:
        model_id = f"test-{number}"
        folder = publish(self.home.models / model_id, self.key, model_id=model_id, run_id=f"run-{number}")
        manifest, signature = (BlobRef.of((folder / name).read_bytes()) for name in (MANIFEST, SIGNATURE))
        self.told.append(
            PublishedModel(
                model_id=model_id,
                state=state,
                manifest=manifest,
                signature=signature,
                created_at=float(number),
            )
        )
        self.hear()
        self.models.install(model_id, manifest.digest, actor="test", at=time.time())

    def revoke(self, number: int) -> None:
        (one,) = (each for each in self.told if each.model_id == f"test-{number}")
        self.told[self.told.index(one)] = one.model_copy(
            update={"state": ModelState.REVOKED, "reason": "it fails"}
        )
        self.hear()

    def hear(self) -> None:
        self.models.hear(PublishedModels(models=tuple(self.told)), actor="site-1", at=time.time())


@pytest.fixture
def site(tmp_path: Path) -> Site:
    key = SigningKey.generate()
    return Site(home=join(tmp_path / "home", key), key=key)


@dataclass(kw_only=True)
class Node:
    """A running node."""

    port: int
    exams: list[MeasuredExam] = field(default_factory=list)

    def store(self, files: list[Path]) -> list[int]:
        """Send images as a modality does; the statuses."""
        entity = AE(ae_title=MODALITY)
        association = entity.associate(LOOPBACK, self.port, contexts=separate_contexts(), ae_title=OUR_TITLE)
        assert association.is_established
        statuses = [association.send_c_store(dcmread(file)).Status for file in files]
        association.release()
        return statuses


@contextlib.contextmanager
def serving(
    site: Site,
    pacs_port: int,
    *,
    port: int | None = None,
    found: dict[str, object] | None = None,
    **changes: object,
) -> Iterator[Node]:
    """A node; `found` are the tables of the archive that it finds images in."""
    if found is not None:
        changes |= {"find_in": "archive", "find_every_s": 1.0, "find_days": 365}
    settings = ClinicSettings.model_validate({"send_to": "pacs", "quiet_s": 1.0, **changes})
    node = Node(port=port or free_port())
    peers = {MODALITY: [LOOPBACK], TITLE: [LOOPBACK]}
    entity = DicomNodeSettings(ae_title=OUR_TITLE, port=node.port, peers=peers, min_free_mb=0)
    pacs = PacsSettings(ae_title=TITLE, host=LOOPBACK, port=pacs_port, timeout_s=20)

    def archive(listening: Listening) -> Archive:
        return open_archive(
            SiteSettings.model_validate({"dicom_node": entity, **(found or {})}),
            "archive",
            listening=listening,
        )

    ready, stopping, failures = threading.Event(), threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            serve(
                site.home,
                settings,
                entity,
                pacs,
                find_in=None if found is None else archive,
                on_ready=ready.set,
                on_exam=node.exams.append,
                should_stop=stopping.is_set,
            )
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)
            ready.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(WITHIN_S)
    try:
        if failures:
            raise failures[0]
        yield node
    finally:
        stopping.set()
        thread.join(WITHIN_S)
    assert not failures


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.1)


def instances(orthanc: Orthanc) -> list[Dataset]:
    """Everything that the archive holds, opened again."""
    url = f"http://127.0.0.1:{orthanc.http_port}"
    opened = []
    for one in requests.get(f"{url}/instances", timeout=10).json():
        content = requests.get(f"{url}/instances/{one}/file", timeout=10).content
        opened.append(dcmread(io.BytesIO(content)))
    return opened


@needs_orthanc
def test_images_go_in_and_objects_come_back_to_the_archive_with_equal_numbers(
    site: Site, images: list[Path], tmp_path: Path
) -> None:
    site.install(1)
    # So long that a machine that does much else sends an exam whole.
    with (
        running_orthanc(tmp_path / "orthanc") as orthanc,
        serving(site, orthanc.dicom_port, quiet_s=4.0) as node,
    ):
        assert node.store(images) == [0] * 4
        wait_for(lambda: bool(node.exams) and site.queue.num_objects() == 0)
        stored = instances(orthanc)

    assert node.exams == [MeasuredExam(num_images=4, num_measured=4, num_objects=9)]
    assert len(stored) == 9
    assert {one.StudyInstanceUID for one in stored} == {dcmread(images[0]).StudyInstanceUID}
    (report,) = (one for one in stored if one.SOPClassUID == ComprehensiveSRStorage)
    report.save_as(tmp_path / "report.dcm")
    model = load_model(site.home, site.home.models / "test-1")
    expected = sorted(
        round(segment(model, read_image(path)).report.density.percent_density, 2) for path in images
    )
    content = srread(tmp_path / "report.dcm").content
    shown = sorted(
        float(group.get_measurements()[0].value) for group in content.get_planar_roi_measurement_groups()
    )
    assert shown == expected
    assert len([one for one in stored if one.SOPClassUID == SegmentationStorage]) == 4
    assert list((site.home.folder / "clinic" / "inbox").iterdir()) == []
    assert list((site.home.folder / "clinic" / "outbox").iterdir()) == []


@needs_orthanc
def test_while_the_archive_is_down_nothing_is_lost_and_then_it_gets_each_object_once(
    site: Site, images: list[Path], tmp_path: Path
) -> None:
    site.install(1)
    with running_orthanc(tmp_path / "orthanc") as orthanc, BadLine(orthanc.dicom_port) as line:
        line.dead = True
        with serving(site, line.port) as node:
            node.store(images[:2])
            wait_for(lambda: bool(node.exams))
            assert site.queue.num_objects() == 5
        # The node was stopped with everything in its queue; it is there again at the next start.
        with serving(site, line.port):
            time.sleep(1)
            assert site.queue.num_objects() == 5
            assert instances(orthanc) == []
            line.cuts = [600]  # and the line breaks once more, in the middle of the answers
            line.dead = False
            wait_for(lambda: site.queue.num_objects() == 0)
        stored = sorted(one.SOPInstanceUID for one in instances(orthanc))

    assert len(stored) == len(set(stored)) == 5
    assert list((site.home.folder / "clinic" / "outbox").iterdir()) == []


@needs_orthanc
@pytest.mark.slow
def test_an_exam_that_was_cut_short_is_measured_again_into_the_same_objects(
    site: Site, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install(1)
    finish, cut = ClinicQueue.finish_exam, list[int]()

    def cut_once(self, *arguments, **more):
        if not cut:
            cut.append(1)
            raise RuntimeError("the process ends here")
        return finish(self, *arguments, **more)

    monkeypatch.setattr(ClinicQueue, "finish_exam", cut_once)
    monkeypatch.setattr("client.clinic.serving.PUT_OFF_S", 0.0)
    with running_orthanc(tmp_path / "orthanc") as orthanc, serving(site, orthanc.dicom_port) as node:
        node.store(images[:1])
        wait_for(lambda: bool(node.exams) and site.queue.num_objects() == 0)
        assert len(instances(orthanc)) == 3
    assert cut == [1]


SLOW = pytest.mark.slow


@needs_orthanc
@pytest.mark.parametrize("way", [pytest.param("get", marks=SLOW), pytest.param("move", marks=SLOW), "web"])
def test_new_mammograms_are_found_in_the_archive_measured_once_and_stored_beside_them(
    site: Site, images: list[Path], tmp_path: Path, way: str
) -> None:
    site.install(1)
    todays = [of_today(image, tmp_path / image.name) for image in images[:2]]
    with running_orthanc(tmp_path / "orthanc", DicomAlwaysAllowMove=True) as orthanc:
        tables = {
            "web": {"dicomweb": {"archive": {"url": orthanc.url}}},
            **{
                retrieve: {
                    "pacs": {
                        "archive": {
                            "ae_title": TITLE,
                            "host": LOOPBACK,
                            "port": orthanc.dicom_port,
                            "calling_ae_title": OUR_TITLE,
                            "retrieve": retrieve,
                        }
                    }
                }
                for retrieve in ("get", "move")
            },
        }[way]
        orthanc.fill(todays[:1])
        with serving(site, orthanc.dicom_port, port=orthanc.our_port, found=tables) as node:
            wait_for(lambda: len(node.exams) == 1 and site.queue.num_objects() == 0)
            assert len(instances(orthanc)) == 1 + 3
            # It is looked for again, its own results beside it, and nothing but the new one is measured.
            orthanc.fill(todays[1:])
            wait_for(lambda: len(node.exams) == 2 and site.queue.num_objects() == 0)
            time.sleep(2.5)
            assert [(exam.num_images, exam.num_measured) for exam in node.exams] == [(1, 1), (1, 1)]
            assert len(instances(orthanc)) == 2 * (1 + 3)
        with serving(site, orthanc.dicom_port, port=orthanc.our_port, found=tables) as node:
            time.sleep(2.5)
            assert node.exams == []
    folders = [site.home.folder / "clinic" / name for name in ("found", "arriving", "inbox", "outbox")]
    assert [list(folder.iterdir()) for folder in folders] == [[], [], [], []]


@needs_orthanc
def test_images_of_a_woman_who_has_withdrawn_are_not_fetched(
    site: Site, images: list[Path], tmp_path: Path
) -> None:
    site.install(1)
    todays = of_today(images[0], tmp_path / "today.dcm")
    assert remove(site, str(dcmread(todays).PatientID)) == 0
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        orthanc.fill([todays, of_today(of_another_woman(images[1]), tmp_path / "another.dcm")])
        tables: dict[str, object] = {"dicomweb": {"archive": {"url": orthanc.url}}}
        with serving(site, orthanc.dicom_port, found=tables) as node:
            wait_for(lambda: len(node.exams) == 1 and site.queue.num_objects() == 0)
            time.sleep(2.5)
            assert len(node.exams) == 1
        measured = [one.PatientID for one in instances(orthanc) if one.SOPClassUID == SegmentationStorage]
    assert measured == ["another"]


def test_results_of_a_model_that_was_revoked_before_they_were_sent_are_not_sent(
    site: Site, images: list[Path]
) -> None:
    site.install(1)
    with serving(site, free_port()) as node:
        node.store(images[:1])
        wait_for(lambda: bool(node.exams))
        assert site.queue.num_objects() == 3
        site.revoke(1)
        wait_for(lambda: site.queue.num_objects() == 0)
        assert list((site.home.folder / "clinic" / "outbox").iterdir()) == []
        # New images wait for a model that holds.
        node.store(images[1:2])
        time.sleep(2.5)
        assert len(node.exams) == 1
        site.install(2)
        wait_for(lambda: len(node.exams) == 2)


def test_only_a_released_model_is_served_with(site: Site) -> None:
    with pytest.raises(NotFoundError), serving(site, free_port()):
        pass
    site.install(1, ModelState.CANDIDATE)
    with pytest.raises(TrustError, match="not released"), serving(site, free_port()):
        pass


def test_more_images_than_may_wait_are_refused_so_that_the_sender_tries_again(
    site: Site, images: list[Path]
) -> None:
    site.install(1)
    with serving(site, free_port(), max_images=2, quiet_s=3.0) as node:
        assert node.store(images[:3]) == [0, 0, OUT_OF_RESOURCES]
        wait_for(lambda: bool(node.exams))
        assert node.store(images[2:3]) == [0]
        wait_for(lambda: len(node.exams) == 2)


def test_our_own_objects_that_an_archive_sends_back_start_no_new_exam(site: Site, images: list[Path]) -> None:
    site.install(1)
    with serving(site, free_port(), quiet_s=0.5) as node:
        node.store(images[:1])
        wait_for(lambda: bool(node.exams))
        outbox = site.home.folder / "clinic" / "outbox"
        own = [path for path in outbox.iterdir() if dcmread(path).SOPClassUID == SegmentationStorage]
        assert node.store(own) == [0]
        time.sleep(1.5)
        assert len(node.exams) == 1
        assert site.queue.num_images() == 0


def of_today(image: Path, to: Path) -> Path:
    header = dcmread(image)
    header.StudyDate = f"{date.today():%Y%m%d}"
    header.save_as(to)
    return to


def of_another_woman(image: Path) -> Path:
    header = dcmread(image)
    header.PatientID = "another"
    header.StudyInstanceUID = generate_uid()
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    header.save_as(path := image.with_name("another-woman.dcm"))
    return path


def kept(site: Site) -> list[Dataset]:
    """What the node has on the disk, by its patients."""
    folder = site.home.folder / "clinic"
    return [dcmread(file) for file in folder.rglob("*") if file.is_file() and file.name != ".lock"]


def remove(site: Site, patient: str) -> int:
    with Catalog.open(site.home.folder) as catalog:
        return withdraw(catalog, patient, actor="local:test").num_clinic_files


def test_a_withdrawal_takes_along_what_waits_in_the_clinic_and_what_is_sent_there_later(
    site: Site, images: list[Path]
) -> None:
    site.install(1)
    hers, patient = images[:2], str(dcmread(images[0]).PatientID)
    with serving(site, free_port()) as node:  # the archive is away: objects wait
        node.store([hers[0], of_another_woman(images[0])])
        wait_for(lambda: len(node.exams) == 2)
        assert site.queue.num_objects() == 6
        assert remove(site, patient) == 3
        assert {str(one.PatientID) for one in kept(site)} == {"another"}
        assert site.queue.num_objects() == 3
        assert node.store(hers) == [0, 0]
        assert site.queue.num_images() == 0
        assert {str(one.PatientID) for one in kept(site)} == {"another"}
    # What a killed node has left beside its rows, and images that say of nobody whose they are.
    for folder in ("arriving", "inbox", "outbox"):
        shutil.copy(hers[0], site.home.folder / "clinic" / folder / "left.dcm")
    site.queue.take_in("exam", "whose", patient=None, at=time.time())
    shutil.copy(hers[0], site.home.folder / "clinic" / "inbox" / "whose.dcm")
    assert remove(site, patient) == 1
    assert {str(one.PatientID) for one in kept(site)} == {"another"}
    with Catalog.open(site.home.folder) as catalog:
        assert forget(catalog, actor="local:test").num_clinic_files == 3
    assert kept(site) == []
    assert site.queue.files() == frozenset()


def test_of_an_exam_that_is_being_measured_when_its_patient_withdraws_nothing_is_kept_or_sent(
    site: Site, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install(1)
    patient, finish, ended = str(dcmread(images[0]).PatientID), ClinicQueue.finish_exam, list[bool]()

    def withdraw_first(self, *arguments, **more):
        remove(site, patient)
        ended.append(finish(self, *arguments, **more))
        return ended[-1]

    monkeypatch.setattr(ClinicQueue, "finish_exam", withdraw_first)
    with serving(site, free_port()) as node:
        node.store(images)
        wait_for(lambda: bool(ended))
        wait_for(lambda: kept(site) == [])
        assert ended == [False]
        assert node.exams == []
        assert site.queue.files() == frozenset()


def test_nothing_in_the_log_or_the_database_names_the_patient_or_an_instance(
    site: Site, images: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    site.install(1)
    source = dcmread(images[0])
    with serving(site, free_port()) as node:
        node.store(images[:1])
        wait_for(lambda: bool(node.exams))
    files = [path for path in site.home.folder.iterdir() if path.name.startswith("site.db")]
    said = caplog.text.encode() + b"".join(path.read_bytes() for path in files)

    for name in (source.PatientID, str(source.PatientName), source.SOPInstanceUID, source.StudyInstanceUID):
        assert name.encode() not in said
