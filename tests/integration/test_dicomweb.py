"""A real archive over DICOMweb: searching it, fetching from it, and everything that HTTP can do wrong."""

from __future__ import annotations

import json
import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from client.imaging.mammogram import View
from client.pacs.archive import FetchReport, Query, StudyFound, instance_file
from client.pacs.dicomweb import DicomWebArchive
from client.pacs.retries import Retries
from client.pacs.settings import DicomWebSettings
from shared.errors import PacsError, StoreError
from tests.full_disk import disk_that_holds
from tests.integration.orthanc import (
    Authority,
    BadLine,
    Orthanc,
    filled_orthanc,
    free_port,
    needs_orthanc,
    running_orthanc,
)

HOME = "127.0.0.1"
QUICK = Retries(attempts=3, first_delay_s=0.01, max_delay_s=0.05)
INSTANCE = b"\0" * 128 + b"DICM and the rest of an image"


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with filled_orthanc(tmp_path_factory.mktemp("archive")) as archive:
        yield archive


def nothing_known(_: str) -> bool:
    return False


def archive_at(url: str, **changes: Any) -> DicomWebArchive:
    settings = DicomWebSettings(url=url, timeout_s=20, **changes)
    return DicomWebArchive(settings, retries=QUICK, min_free_bytes=0)


def over(line: BadLine) -> str:
    return f"http://{HOME}:{line.port}/dicom-web"


def study_of(header: Dataset) -> StudyFound:
    return StudyFound(study_uid=header.StudyInstanceUID, patient_id=header.PatientID)


def sources(orthanc: Orthanc, study: StudyFound) -> dict[str, Dataset]:
    """What the archive was filled with of a study, by SOP Instance UID."""
    files = [dcmread(image.image_path) for image in orthanc.images]
    return {one.SOPInstanceUID: one for one in files if one.StudyInstanceUID == study.study_uid}


@needs_orthanc
def test_all_studies_are_found_with_their_patients(orthanc: Orthanc) -> None:
    archive = archive_at(orthanc.url)
    archive.check()
    found = archive.find(Query())
    expected = {(one.StudyInstanceUID, one.PatientID) for one in orthanc.headers()}
    assert {(study.study_uid, study.patient_id) for study in found} == expected
    assert {study.num_instances for study in found} == {2}
    assert len(found) == len(expected) == 5


@needs_orthanc
def test_studies_are_found_by_their_day(orthanc: Orthanc) -> None:
    archive = archive_at(orthanc.url)
    days = sorted(date.fromisoformat(one.StudyDate) for one in orthanc.headers())
    one_day = timedelta(days=1)
    assert len(archive.find(Query(from_date=days[0], until_date=days[-1]))) == 5
    assert len(archive.find(Query(from_date=days[-1]))) == 1
    assert len(archive.find(Query(until_date=days[0]))) == 1
    assert archive.find(Query(until_date=days[0] - one_day)) == []


@needs_orthanc
def test_images_come_as_they_are_stored(orthanc: Orthanc, tmp_path: Path) -> None:
    archive = archive_at(orthanc.url)
    syntaxes = set()
    for study in archive.find(Query()):
        assert archive.fetch(study, tmp_path, nothing_known) == FetchReport(fetched=2)
        for uid, source in sources(orthanc, study).items():
            fetched = dcmread(instance_file(tmp_path, uid))
            assert fetched.PixelData == source.PixelData
            assert fetched.file_meta.TransferSyntaxUID == source.file_meta.TransferSyntaxUID
            assert instance_file(tmp_path, uid).stat().st_mode & 0o777 == 0o600
            syntaxes.add(fetched.file_meta.TransferSyntaxUID.name)
        assert archive.fetch(study, tmp_path, nothing_known) == FetchReport(kept=2)
    assert len(syntaxes) == 2


@needs_orthanc
def test_another_view_and_what_is_decided_are_not_sent(orthanc: Orthanc, tmp_path: Path) -> None:
    study = study_of(orthanc.headers()[0])
    with BadLine(orthanc.http_port) as line:
        archive = archive_at(over(line))
        report = archive.fetch(study, tmp_path, nothing_known, view=View.MLO)
        assert report == FetchReport(fetched=1, other_view=1)
        (file,) = tmp_path.iterdir()
        assert dcmread(file).ViewPosition == "MLO"
        assert line.bytes_back < 1.5 * file.stat().st_size
        known = dcmread(file).SOPInstanceUID
        file.unlink()
        report = archive.fetch(study, tmp_path, lambda uid: uid == known, view=View.MLO)
        assert report == FetchReport(decided=1, other_view=1)


@needs_orthanc
def test_a_line_that_drops_in_the_middle_is_taken_up_and_nothing_comes_twice(
    orthanc: Orthanc, tmp_path: Path
) -> None:
    study = study_of(orthanc.headers()[0])
    sizes = [len(one.PixelData) for one in sources(orthanc, study).values()]
    with BadLine(orthanc.http_port) as line:
        archive_at(over(line)).instances(study)
        # One connection serves the searches and then the images.
        line.cuts = [line.bytes_back + sizes[0] + sizes[1] // 2, 500]
        line.bytes_back = 0
        assert archive_at(over(line)).fetch(study, tmp_path, nothing_known) == FetchReport(fetched=2)
    assert line.cuts == []
    assert line.bytes_back < sum(sizes) + sizes[1] + 20_000
    for uid, source in sources(orthanc, study).items():
        assert dcmread(instance_file(tmp_path, uid)).PixelData == source.PixelData
    assert len(list(tmp_path.iterdir())) == 2


@needs_orthanc
def test_an_archive_that_falls_silent_is_called_anew(orthanc: Orthanc, tmp_path: Path) -> None:
    study = study_of(orthanc.headers()[0])
    with BadLine(orthanc.http_port) as line:
        line.silent = True
        line.cuts = [40_000]
        settings = DicomWebSettings(url=over(line), timeout_s=1)
        archive = DicomWebArchive(settings, retries=QUICK, min_free_bytes=0)
        assert archive.fetch(study, tmp_path, nothing_known) == FetchReport(fetched=2)
    assert line.cuts == []


@needs_orthanc
def test_a_slow_line_is_borne_as_long_as_anything_comes(orthanc: Orthanc, tmp_path: Path) -> None:
    study = study_of(orthanc.headers()[0])
    with BadLine(orthanc.http_port) as line:
        line.bytes_per_s = 60_000  # so that an image takes longer than the silence that counts as an end
        settings = DicomWebSettings(url=over(line), timeout_s=1)
        archive = DicomWebArchive(settings, retries=QUICK, min_free_bytes=0)
        assert archive.fetch(study, tmp_path, nothing_known) == FetchReport(fetched=2)
    assert min(file.stat().st_size for file in tmp_path.iterdir()) > 60_000


@needs_orthanc
def test_a_full_disk_ends_the_fetch_with_what_to_do(orthanc: Orthanc, tmp_path: Path) -> None:
    archive = archive_at(orthanc.url)
    study = study_of(orthanc.headers()[0])
    with disk_that_holds(20_000), pytest.raises(StoreError, match="too full"):
        archive.fetch(study, tmp_path, nothing_known)
    assert list(tmp_path.iterdir()) == []


@needs_orthanc
def test_a_password_opens_the_archive_and_a_wrong_one_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "right").write_text("correct horse\n")
    (tmp_path / "wrong").write_text("battery staple\n")
    locked = {"AuthenticationEnabled": True, "RegisteredUsers": {"site": "correct horse"}}
    with running_orthanc(tmp_path / "orthanc", **locked) as orthanc:
        archive_at(orthanc.url, user="site", password_file=tmp_path / "right").check()
        for secret in ({}, {"user": "site", "password_file": tmp_path / "wrong"}):
            with pytest.raises(PacsError, match="let this site in") as caught:
                archive_at(orthanc.url, **secret).check()
            assert "battery" not in caught.value.message + caught.value.hint


@needs_orthanc
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
    archive = archive_at(orthanc.url)
    for study in archive.find(Query()):
        archive.fetch(study, tmp_path, nothing_known)
    text = "\n".join(lines)
    assert "heard" in text
    for one in orthanc.headers():
        for secret in (one.PatientID, str(one.PatientName), one.StudyInstanceUID, one.SOPInstanceUID):
            assert secret not in text


def test_a_dead_archive_is_one_clear_line() -> None:
    with pytest.raises(PacsError, match="does not answer") as caught:
        archive_at(f"http://{HOME}:{free_port()}").check()
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


Answer = tuple[int, dict[str, str], bytes]
Answering = Callable[[BaseHTTPRequestHandler], Answer]


@contextmanager
def web(answer: Answering, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A web server that answers everything as it is told; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer((HOME, 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"{'http' if tls is None else 'https'}://{HOME}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def a_study(_: BaseHTTPRequestHandler) -> Answer:
    match = {"0020000D": {"vr": "UI", "Value": ["1.2.3"]}, "00100020": {"vr": "LO", "Value": ["P"]}}
    return 200, {}, json.dumps([match]).encode()


def test_an_archive_that_gives_a_part_at_a_time_is_asked_for_the_rest() -> None:
    def two_at_a_time(request: BaseHTTPRequestHandler) -> Answer:
        first = int(parse_qs(urlsplit(request.path).query)["offset"][0])
        uids = [f"1.2.{number}" for number in range(5)][first : first + 2]
        return 200, {}, json.dumps([{"0020000D": {"vr": "UI", "Value": [uid]}} for uid in uids]).encode()

    with web(two_at_a_time) as url:
        assert len(archive_at(url).find(Query())) == 5


def test_an_archive_that_ignores_pages_is_not_asked_for_ever() -> None:
    with web(a_study) as url:
        assert len(archive_at(url).find(Query())) == 1


def test_a_token_is_shown_to_the_archive(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc.def\n")
    shown: list[str | None] = []

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        shown.append(request.headers["Authorization"])
        return 200, {}, b"[]"

    with web(answer) as url:
        archive_at(url, token_file=tmp_path / "token").check()
    assert shown == ["Bearer abc.def"]


def test_a_proxy_of_the_environment_hears_no_query(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://{HOME}:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    with web(a_study) as url:
        archive_at(url).check()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ((302, {"Location": "http://192.0.2.1/"}, b""), "leads to another address"),
        ((200, {}, b"<html>Welcome</html>"), "does not speak DICOMweb"),
        ((200, {}, b'"text"'), "does not speak DICOMweb"),
        ((200, {}, b'[{"0020000D": 1}]'), "does not speak DICOMweb"),
        ((404, {}, b""), "does not speak DICOMweb"),
        ((403, {}, b""), "let this site in"),
        ((500, {}, b""), "fault of its own"),
        ((503, {}, b""), "fault of its own"),
        ((200, {}, b'[{"0020000D": {"vr": "UI", "Value": ["../1"]}}]'), "no DICOM UID"),
    ],
)
def test_whatever_else_answers_is_one_clear_line(answer: Answer, complaint: str) -> None:
    with web(lambda _: answer) as url, pytest.raises(PacsError, match=complaint):
        archive_at(url).find(Query())


def instances_then(image: Answer) -> Answering:
    """A study with one image, which is answered for as given."""

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        if request.path.endswith("/instances/1.2.5"):
            return image
        level = "00080018" if "/instances?" in request.path else "0020000E"
        match = {level: {"vr": "UI", "Value": ["1.2.5"]}, "00080060": {"vr": "CS", "Value": ["MG"]}}
        return 200, {}, json.dumps([match]).encode()

    return answer


FRAMED = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + INSTANCE + b"\r\n--x--"
RELATED = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}


@pytest.mark.parametrize(
    ("image", "report"),
    [
        ((200, RELATED, FRAMED), FetchReport(fetched=1)),
        ((200, {"Content-Type": "application/dicom"}, INSTANCE), FetchReport(fetched=1)),
        ((200, RELATED, FRAMED[:-3]), FetchReport(failed=1)),  # cut off by the archive itself
        ((200, RELATED, FRAMED.replace(b"DICM", b"HTML")), FetchReport(failed=1)),
        ((200, {"Content-Type": "text/html"}, b"<html>"), FetchReport(failed=1)),
        ((404, {}, b""), FetchReport(failed=1)),
        ((406, {}, b""), FetchReport(failed=1)),
        ((500, {}, b""), FetchReport(failed=1)),
    ],
)
def test_an_image_comes_whole_or_not_at_all(image: Answer, report: FetchReport, tmp_path: Path) -> None:
    with web(instances_then(image)) as url:
        study = StudyFound(study_uid="1.2", patient_id="P")
        assert archive_at(url).fetch(study, tmp_path, nothing_known) == report
    kept = [file.read_bytes() for file in tmp_path.iterdir()]
    assert kept == [INSTANCE] * report.fetched


def test_https_is_believed_by_the_named_authority_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    theirs = authority.issue("archive")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.certificate_file, theirs.key_file)
    other = Authority(tmp_path / "other", "other")
    with web(a_study, context) as url:
        archive_at(url, ca_file=authority.ca_file).check()
        for wrong in ({}, {"ca_file": other.ca_file}):
            with pytest.raises(PacsError, match="certificate is not of a trusted"):
                archive_at(url, **wrong).check()
