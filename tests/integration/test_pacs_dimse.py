"""A real archive over DICOM: asking it, fetching from it by C-GET and C-MOVE, and lines that break."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from client.dicom_node.settings import DicomNodeSettings
from client.imaging.mammogram import View
from client.pacs.archive import FetchReport, Query, StudyFound, instance_file
from client.pacs.dimse import DimseArchive
from client.pacs.retries import Retries
from client.pacs.settings import PacsSettings
from client.pulling import pull
from shared.errors import ConfigError, EmptySourceError, PacsError, StoreError
from tests.full_disk import disk_that_holds
from tests.integration.orthanc import (
    OUR_TITLE,
    TITLE,
    Authority,
    BadLine,
    Orthanc,
    filled_orthanc,
    free_port,
    needs_orthanc,
    running_orthanc,
)

pytestmark = needs_orthanc

HOME = "127.0.0.1"
FIND, MOVE = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"
QUICK = Retries(attempts=3, first_delay_s=0.01, max_delay_s=0.05)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with filled_orthanc(tmp_path_factory.mktemp("archive")) as archive:
        yield archive


def nothing_known(_: str) -> bool:
    return False


def archive_at(orthanc: Orthanc, **changes: Any) -> DimseArchive:
    """An archive; `peers` are those of our node."""
    peers = changes.pop("peers", {TITLE: [HOME]})
    settings = {
        "ae_title": TITLE,
        "host": HOME,
        "port": orthanc.dicom_port,
        "calling_ae_title": OUR_TITLE,
        "timeout_s": 20,
        **changes,
    }
    node = DicomNodeSettings(ae_title=OUR_TITLE, port=orthanc.our_port, peers=peers, min_free_mb=0)
    return DimseArchive(PacsSettings(**settings), node, retries=QUICK, min_free_bytes=0)


@pytest.fixture(params=["get", "move"])
def way(request: pytest.FixtureRequest) -> Literal["get", "move"]:
    return request.param


def study_of(header: Dataset) -> StudyFound:
    return StudyFound(study_uid=header.StudyInstanceUID, patient_id=header.PatientID)


def sources(orthanc: Orthanc, study: StudyFound) -> dict[str, Dataset]:
    """What the archive was filled with of a study, by SOP Instance UID."""
    files = [dcmread(image.image_path) for image in orthanc.images]
    return {one.SOPInstanceUID: one for one in files if one.StudyInstanceUID == study.study_uid}


def test_the_archive_answers_an_echo(orthanc: Orthanc) -> None:
    archive_at(orthanc).check()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"ae_title": "OTHER"}, "another AE title"),
        ({"port": 1}, "does not answer"),
        ({"host": "pacs.invalid"}, "does not answer"),
    ],
)
def test_an_archive_that_cannot_be_reached_is_one_clear_line(
    orthanc: Orthanc, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(PacsError, match=complaint) as caught:
        archive_at(orthanc, **changes).check()
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


def test_a_title_that_the_archive_does_not_know_may_not_query(orthanc: Orthanc) -> None:
    with pytest.raises(PacsError):
        archive_at(orthanc, calling_ae_title="STRANGER").find(Query())


def test_all_studies_are_found_with_their_patients(orthanc: Orthanc) -> None:
    found = archive_at(orthanc).find(Query())
    expected = {(one.StudyInstanceUID, one.PatientID) for one in orthanc.headers()}
    assert {(study.study_uid, study.patient_id) for study in found} == expected
    assert {study.num_instances for study in found} == {2}
    assert len(found) == len(expected) == 5


def test_studies_are_found_by_their_day(orthanc: Orthanc) -> None:
    archive = archive_at(orthanc)
    days = sorted({date.fromisoformat(one.StudyDate) for one in orthanc.headers()})
    first, middle, last = days[0], days[len(days) // 2], days[-1]
    one_day = timedelta(days=1)

    def num_found(**limits: date) -> int:
        return len(archive.find(Query(**limits)))

    assert num_found(from_date=first, until_date=last) == 5  # years apart: asked for month by month
    assert num_found(from_date=middle, until_date=middle) == 1
    assert num_found(until_date=first) == 1
    assert num_found(until_date=first - one_day) == 0
    assert num_found(from_date=last + one_day, until_date=last + 40 * one_day) == 0


def test_images_come_as_they_are_stored(
    orthanc: Orthanc, way: Literal["get", "move"], tmp_path: Path
) -> None:
    archive = archive_at(orthanc, retrieve=way)
    syntaxes = set()
    for study in (study_of(orthanc.headers()[0]), study_of(orthanc.headers()[-1])):
        folder = tmp_path / study.patient_id
        assert archive.fetch(study, folder, nothing_known) == FetchReport(fetched=2)
        wanted = sources(orthanc, study)
        assert {instance_file(folder, uid) for uid in wanted} == set(folder.iterdir())
        for uid, source in wanted.items():
            fetched = dcmread(instance_file(folder, uid))
            assert fetched.PixelData == source.PixelData
            assert fetched.PatientID == source.PatientID
            assert fetched.file_meta.TransferSyntaxUID == source.file_meta.TransferSyntaxUID
            syntaxes.add(fetched.file_meta.TransferSyntaxUID.name)
    assert len(syntaxes) == 2


def test_one_view_comes_without_the_other_being_sent(orthanc: Orthanc, tmp_path: Path) -> None:
    study = study_of(orthanc.headers()[0])
    with BadLine(orthanc.dicom_port) as line:
        archive = archive_at(orthanc, port=line.port)
        archive.find(Query())
        report = archive.fetch(study, tmp_path, nothing_known, view=View.MLO)
    assert report == FetchReport(fetched=1, other_view=1)
    (file,) = tmp_path.iterdir()
    assert dcmread(file).ViewPosition == "MLO"
    assert line.bytes_back < 1.5 * file.stat().st_size


def test_what_is_decided_is_not_sent(orthanc: Orthanc, way: Literal["get", "move"], tmp_path: Path) -> None:
    study = study_of(orthanc.headers()[0])
    known = min(sources(orthanc, study))
    archive = archive_at(orthanc, retrieve=way)
    report = archive.fetch(study, tmp_path, lambda uid: uid == known)
    assert report == FetchReport(fetched=1, decided=1)
    assert not instance_file(tmp_path, known).exists()


def test_segmentations_come_with_their_images_and_other_modalities_do_not(tmp_path: Path) -> None:
    with running_orthanc(tmp_path / "orthanc") as orthanc:
        from deploy.demo.phantoms import GE, write_hospital

        women = write_hospital(
            tmp_path / "h", vendor=GE, patients=1, seed=1, density_mix={"b": 1.0}, spacing_mm=1.0
        )
        files = [image.image_path for image in women]
        study = study_of(dcmread(files[0]))
        for number, modality, sop_class in (
            (8, "SEG", "1.2.840.10008.5.1.4.1.1.66.4"),
            (9, "OT", "1.2.840.10008.5.1.4.1.1.7"),
        ):
            beside = dcmread(files[0])
            beside.Modality, beside.SOPClassUID = modality, sop_class
            beside.SOPInstanceUID = beside.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
            beside.file_meta.MediaStorageSOPClassUID = sop_class
            beside.SeriesInstanceUID = f"1.2.4.{number}"
            files.append(tmp_path / f"{modality}.dcm")
            beside.save_as(files[-1])
        orthanc.fill(files)
        report = archive_at(orthanc).fetch(study, tmp_path / "folder", nothing_known)
    assert report == FetchReport(fetched=3)
    assert instance_file(tmp_path / "folder", "1.2.3.8").exists()


def test_a_line_that_drops_in_the_middle_is_taken_up_and_nothing_comes_twice(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    study = study_of(orthanc.headers()[0])
    sizes = [len(one.PixelData) for one in sources(orthanc, study).values()]
    with BadLine(orthanc.dicom_port) as line:
        archive = archive_at(orthanc, port=line.port)
        archive.instances(study)
        asking = line.bytes_back
        # The query passes; then the line drops in the second image, and once more at its beginning.
        line.cuts = [asking + 1, sizes[0] + sizes[1] // 2 + 8000, 6000]
        line.bytes_back = 0
        assert archive.fetch(study, tmp_path, nothing_known) == FetchReport(fetched=2)
    assert line.cuts == []
    assert len(list(tmp_path.iterdir())) == 2
    # The first image once, a part of the second again.
    assert line.bytes_back < sum(sizes) + sizes[1] + 40_000
    for uid, source in sources(orthanc, study).items():
        assert dcmread(instance_file(tmp_path, uid)).PixelData == source.PixelData


def test_an_archive_that_falls_silent_is_called_anew(orthanc: Orthanc, tmp_path: Path) -> None:
    study = study_of(orthanc.headers()[0])
    with BadLine(orthanc.dicom_port) as line:
        archive = archive_at(orthanc, port=line.port, timeout_s=1)
        archive.instances(study)
        line.cuts = [line.bytes_back + 1, 30_000]
        line.silent = True
        assert archive.fetch(study, tmp_path, nothing_known) == FetchReport(fetched=2)


def test_a_slow_line_is_borne_as_long_as_anything_comes(orthanc: Orthanc, tmp_path: Path) -> None:
    study = study_of(orthanc.headers()[0])
    with BadLine(orthanc.dicom_port) as line:
        line.bytes_per_s = 30_000  # so that an image takes longer than the silence that counts as an end
        archive = archive_at(orthanc, port=line.port, timeout_s=2)
        assert archive.fetch(study, tmp_path, nothing_known) == FetchReport(fetched=2)
    assert min(file.stat().st_size for file in tmp_path.iterdir()) > 2 * 30_000


def test_an_interrupted_pull_goes_on_and_fetches_nothing_twice(orthanc: Orthanc, tmp_path: Path) -> None:
    imported: list[str] = []

    def import_folder(folder: Path) -> Any:
        files = [dcmread(file) for file in folder.iterdir() if file.suffix == ".dcm"]
        imported.extend(file.SOPInstanceUID for file in files)
        if len(imported) == 4:
            line.dead = True
        raise EmptySourceError("This site imports nothing.", "It is a test.")

    def run() -> Any:
        return pull(
            archive_at(orthanc, port=line.port),
            Query(),
            folder=tmp_path / "pulled",
            import_folder=import_folder,
            decided=imported.__contains__,
            progress=lambda _done, _total: None,
        )

    with BadLine(orthanc.dicom_port) as line:
        with pytest.raises(PacsError, match="does not answer"):
            run()
        assert len(imported) == 4
        line.dead = False
        line.bytes_back = 0
        report = run()
    assert sorted(imported) == sorted(one.SOPInstanceUID for one in orthanc.headers())
    assert report.instances == FetchReport(fetched=6, decided=4)
    assert list((tmp_path / "pulled").glob("patient-*")) == []


def test_a_full_disk_ends_the_fetch_with_what_to_do(
    orthanc: Orthanc, way: Literal["get", "move"], tmp_path: Path
) -> None:
    archive = archive_at(orthanc, retrieve=way)
    study = study_of(orthanc.headers()[0])
    with disk_that_holds(20_000), pytest.raises(StoreError, match="too full"):
        archive.fetch(study, tmp_path, nothing_known)
    assert list(tmp_path.iterdir()) == []
    assert archive.fetch(study, tmp_path, nothing_known) == FetchReport(fetched=2)


def test_moving_to_a_place_that_the_archive_does_not_know_is_one_clear_line(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    study = study_of(orthanc.headers()[0])
    instances = archive_at(orthanc).instances(study)
    with answering(MOVE, evt.EVT_C_MOVE, unknown_destination) as port:
        archive = archive_at(orthanc, port=port, retrieve="move")
        archive.instances = lambda _: instances
        with pytest.raises(PacsError, match="place to send to"):
            archive.fetch(study, tmp_path, nothing_known)


@pytest.mark.parametrize(
    ("status", "complaint"), [(0xA700, "too much for one query"), (0xC000, "refuses the query")]
)
def test_a_query_that_the_archive_refuses_is_one_clear_line(
    orthanc: Orthanc, status: int, complaint: str
) -> None:
    def refuse(_: evt.Event) -> Iterator[tuple[int, None]]:
        yield status, None

    with answering(FIND, evt.EVT_C_FIND, refuse) as port, pytest.raises(PacsError, match=complaint):
        archive_at(orthanc, port=port).find(Query())


@contextlib.contextmanager
def answering(service: str, event: Any, handler: Any) -> Iterator[int]:
    """An archive that knows one service, and answers as the handler says; its port."""
    entity = AE(ae_title=TITLE)
    entity.add_supported_context(service)
    port = free_port()
    server = entity.start_server((HOME, port), block=False, evt_handlers=[(event, handler)])
    try:
        yield port
    finally:
        server.shutdown()


def unknown_destination(_: evt.Event) -> Iterator[tuple[None, None]]:
    yield None, None


def test_an_archive_without_a_service_is_one_clear_line(orthanc: Orthanc) -> None:
    with (
        answering(MOVE, evt.EVT_C_MOVE, unknown_destination) as port,
        pytest.raises(PacsError, match="does not offer"),
    ):
        archive_at(orthanc, port=port).find(Query())


def test_an_archive_that_is_not_listed_cannot_push_into_a_move(orthanc: Orthanc, tmp_path: Path) -> None:
    archive = archive_at(orthanc, retrieve="move", peers={"OTHER": [HOME]})
    report = archive.fetch(study_of(orthanc.headers()[0]), tmp_path, nothing_known)
    assert report == FetchReport(failed=2)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_wants_tls_is_asked_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    theirs, ours = authority.issue("archive"), authority.issue("site")
    tls = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(theirs.certificate_file),
        "DicomTlsPrivateKey": str(theirs.key_file),
        "DicomTlsTrustedCertificates": str(theirs.ca_file),
        "DicomTlsRemoteCertificateRequired": True,
    }
    with running_orthanc(tmp_path / "orthanc", **tls) as orthanc:
        archive_at(orthanc, tls=ours).check()
        assert archive_at(orthanc, tls=ours).find(Query()) == []
        with pytest.raises(PacsError, match="does not answer"):
            archive_at(orthanc).check()
        forged = Authority(tmp_path / "forger", "forger").issue("site")
        for files in (forged, forged.model_copy(update={"ca_file": authority.ca_file})):
            with pytest.raises(PacsError, match="certificate"):
                archive_at(orthanc, tls=files).check()
        with pytest.raises(ConfigError, match="TLS files"):
            archive_at(orthanc, tls=ours.model_copy(update={"key_file": ours.ca_file})).check()


def test_patients_never_reach_a_log_by_asking_and_fetching(
    orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.DEBUG)
    monkeypatch.setattr(root, "handlers", [Listener(logging.DEBUG)])
    logging.getLogger("control").debug("heard")
    archive = archive_at(orthanc)
    archive.fetch(archive.find(Query())[0], tmp_path, nothing_known)
    text = "\n".join(lines)
    assert "heard" in text
    for one in orthanc.headers():
        for secret in (one.PatientID, str(one.PatientName), one.StudyInstanceUID, one.SOPInstanceUID):
            assert secret not in text
