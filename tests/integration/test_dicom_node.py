"""Our application entity against peers and strangers: who gets in, and what becomes of what they send."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from client.catalog import Catalog
from client.dicom_node.contexts import separate_contexts
from client.dicom_node.node import VERIFICATION, DicomNode
from client.dicom_node.reception import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, ReceivedInstance
from client.dicom_node.settings import DicomNodeSettings
from client.dicom_node.spool import Spool
from client.dicom_node.tls import client_context, server_context
from client.incoming import quarantine, quarantined_folder
from client.intake.importer import Importer, ImportReport
from client.receiving import keep_quarantined, receive
from deploy.demo.phantoms import GE, HOLOGIC, write_hospital
from shared.errors import ConfigError, NotDicomError
from tests.full_disk import disk_that_holds
from tests.integration.orthanc import Authority, BadLine, free_port

HOME = "127.0.0.1"
PEER = "MODALITY"
MG = "1.2.840.10008.5.1.4.1.1.1.2"


@dataclass
class Listening:
    """A node with what has arrived at it."""

    port: int
    folder: Path
    arrived: list[ReceivedInstance] = field(default_factory=list)

    def call(self, **changes: Any) -> Association:
        """An association of a modality with it; made or not."""
        wanted: dict[str, Any] = {
            "title": PEER,
            "called": "MAMMOFED",
            "port": self.port,
            "tls": None,
            **changes,
        }
        entity = AE(ae_title=wanted["title"])
        entity.connection_timeout = entity.acse_timeout = 5
        tls = None if wanted["tls"] is None else (wanted["tls"], HOME)
        contexts = [build_context(VERIFICATION), *separate_contexts()]
        return entity.associate(
            HOME, wanted["port"], contexts=contexts, ae_title=wanted["called"], tls_args=tls
        )


@contextlib.contextmanager
def listening(
    folder: Path,
    on_instance: Callable[[ReceivedInstance], None] | None = None,
    min_free_bytes: int = 0,
    **changes: Any,
) -> Iterator[Listening]:
    settings = DicomNodeSettings(
        **{"ae_title": "MAMMOFED", "port": free_port(), "peers": {PEER: [HOME]}, "timeout_s": 5, **changes}
    )
    node = Listening(settings.port, folder)
    spool = Spool(folder, min_free_bytes=min_free_bytes)
    with DicomNode(settings, spool, on_instance or node.arrived.append):
        yield node


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Images of two makers: JPEG 2000 and uncompressed."""
    folder = tmp_path_factory.mktemp("images")
    return [
        image.image_path
        for vendor in (HOLOGIC, GE)
        for image in write_hospital(
            folder / f"hospital-{vendor.name}",
            vendor=vendor,
            patients=1,
            seed=2,
            density_mix={"b": 1.0},
            spacing_mm=0.5,
        )
    ]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_listed_modality_is_answered_and_its_images_are_kept_as_they_are(
    images: list[Path], tmp_path: Path
) -> None:
    with listening(tmp_path) as node:
        modality = node.call()
        assert modality.send_c_echo().Status == 0
        for image in images:
            assert modality.send_c_store(dcmread(image)).Status == 0
        modality.release()
    assert [one.ae_title for one in node.arrived] == [PEER] * len(images)
    for one, image in zip(node.arrived, images, strict=True):
        sent, kept = dcmread(image), dcmread(one.path)
        assert kept == sent
        assert kept.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
        assert (one.sop_instance_uid, one.sop_class_uid) == (sent.SOPInstanceUID, sent.SOPClassUID)
        assert one.path.stat().st_mode & 0o777 == 0o600


def test_every_class_is_taken_in_every_syntax(tmp_path: Path) -> None:
    with listening(tmp_path) as node:
        modality = node.call()
        assert len(modality.accepted_contexts) == 1 + len(separate_contexts())
        modality.release()


def test_a_stranger_with_another_title_is_turned_away(tmp_path: Path) -> None:
    with listening(tmp_path) as node:
        assert node.call(title="STRANGER").is_rejected
        assert node.call(called="OTHER").is_rejected
        assert node.call().is_established


def test_a_caller_from_another_address_does_not_get_a_word(tmp_path: Path) -> None:
    with listening(tmp_path, peers={PEER: ["192.0.2.7"]}) as node:
        stranger = node.call()
        assert not stranger.is_established
        assert not stranger.is_rejected  # the connection is closed before anything is said
        with socket.create_connection((HOME, node.port), timeout=5) as line:
            assert line.recv(1) == b""


def test_with_nobody_listed_nobody_gets_in(tmp_path: Path) -> None:
    with listening(tmp_path, peers={}) as node:
        assert not node.call().is_established


def test_a_borrowed_title_from_another_peers_address_is_turned_away(tmp_path: Path) -> None:
    with listening(tmp_path, peers={PEER: [HOME], "PACS": ["192.0.2.7"]}) as node:
        assert node.call(title="PACS").is_rejected


def test_a_full_disk_is_answered_and_the_association_goes_on(images: list[Path], tmp_path: Path) -> None:
    with listening(tmp_path) as node:
        modality = node.call()
        with disk_that_holds(20_000):
            assert modality.send_c_store(dcmread(images[0])).Status == OUT_OF_RESOURCES
        assert list(tmp_path.iterdir()) == []
        assert modality.send_c_store(dcmread(images[0])).Status == 0
        modality.release()
    assert len(node.arrived) == 1


def test_below_the_floor_of_free_disk_nothing_is_taken(images: list[Path], tmp_path: Path) -> None:
    with listening(tmp_path, min_free_bytes=1 << 62) as node:
        modality = node.call()
        assert modality.send_c_store(dcmread(images[0])).Status == OUT_OF_RESOURCES
        assert modality.send_c_echo().Status == 0
        modality.release()
    assert node.arrived == list(tmp_path.iterdir()) == []


def test_what_the_receiver_refuses_is_refused_to_the_peer_and_deleted(
    images: list[Path], tmp_path: Path
) -> None:
    def refuse(_: ReceivedInstance) -> None:
        raise NotDicomError("No.", "Send something else.")

    with listening(tmp_path, refuse) as node:
        modality = node.call()
        assert modality.send_c_store(dcmread(images[0])).Status == CANNOT_UNDERSTAND
        modality.release()
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_breaks_in_an_image_leaves_nothing(images: list[Path], tmp_path: Path) -> None:
    gone = threading.Event()
    with listening(tmp_path, max_pdu_bytes=4096) as node:
        modality = node.call()

        def send() -> None:
            try:
                modality.send_c_store(dcmread(images[0]))
            finally:  # it may find out about the line in more than one way
                gone.set()

        # The peer's line breaks as soon as the node has begun a file.
        original = modality.dul._send
        broken = threading.Event()

        def send_a_part(pdu: Any) -> None:
            if not broken.is_set() and list(tmp_path.glob(".*.part")):
                broken.set()
                modality.dul.socket.socket.shutdown(socket.SHUT_RDWR)
            elif not broken.is_set():
                original(pdu)
                time.sleep(0.02)  # the node writes as it reads, in a thread of its own

        modality.dul._send = send_a_part
        threading.Thread(target=send, daemon=True).start()
        wait_for(gone.is_set)
        assert broken.is_set()
        wait_for(lambda: list(tmp_path.iterdir()) == [])
        assert node.call().send_c_echo().Status == 0
    assert node.arrived == []


def test_a_peer_that_falls_silent_is_cut_off(tmp_path: Path) -> None:
    with listening(tmp_path, timeout_s=1) as node, socket.create_connection((HOME, node.port)) as line:
        line.settimeout(10)
        line.sendall(b"\x01\x00\x00\x00")  # the first bytes of a request, and no more
        assert line.recv(1) == b""


def test_a_memory_bomb_by_an_announced_length_is_not_read(tmp_path: Path) -> None:
    with listening(tmp_path) as node, socket.create_connection((HOME, node.port)) as line:
        line.settimeout(10)
        line.sendall(struct.pack(">BBL", 1, 0, 2**31) + bytes(1000))
        with contextlib.suppress(ConnectionResetError):
            assert line.recv(1) == b""
        assert node.call().is_established


def test_a_memory_bomb_by_an_endless_command_is_not_kept(tmp_path: Path) -> None:
    with listening(tmp_path) as node:
        modality = node.call()
        context = modality.accepted_contexts[0].context_id
        assert context is not None
        fragment = struct.pack(">LBB", 60_002, context, 1) + bytes(60_000)
        line = modality.dul.socket.socket
        for _ in range(30):
            with contextlib.suppress(OSError):
                line.sendall(struct.pack(">BBL", 4, 0, len(fragment)) + fragment)
        wait_for(lambda: not modality.is_established)


def test_more_associations_than_allowed_are_turned_away(tmp_path: Path) -> None:
    with listening(tmp_path, max_associations=2) as node:
        calls = [node.call() for _ in range(3)]
        assert [one.is_established for one in calls] == [True, True, False]
        assert calls[2].is_rejected
        calls[0].release()
        wait_for(lambda: node.call().is_established)


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with (
        listening(tmp_path / "one") as node,
        pytest.raises(ConfigError, match="port is in use"),
        listening(tmp_path / "two", port=node.port),
    ):
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


def test_over_tls_images_come_from_a_peer_with_a_certificate(
    authority: Authority, images: list[Path], tmp_path: Path
) -> None:
    with listening(tmp_path, tls=authority.issue("node")) as node:
        modality = node.call(tls=client_context(authority.issue("modality")))
        assert modality.dul.socket.socket.version() == "TLSv1.3"
        assert modality.send_c_store(dcmread(images[0])).Status == 0
        modality.release()
    assert len(node.arrived) == 1


def test_an_older_peer_may_speak_tls_1_2_and_nothing_below(authority: Authority, tmp_path: Path) -> None:
    assert server_context(authority.issue("node")).minimum_version is ssl.TLSVersion.TLSv1_2
    older = client_context(authority.issue("modality"))
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with listening(tmp_path, tls=authority.issue("node")) as node:
        modality = node.call(tls=older)
        assert modality.dul.socket.socket.version() == "TLSv1.2"
        assert modality.send_c_echo().Status == 0
        modality.release()


def test_plain_text_is_not_spoken_where_tls_is_set(authority: Authority, tmp_path: Path) -> None:
    with listening(tmp_path, tls=authority.issue("node")) as node:
        assert not node.call().is_established


def test_a_forged_certificate_of_another_authority_opens_nothing(
    authority: Authority, tmp_path: Path
) -> None:
    forged = Authority(tmp_path / "forger", "forger").issue("modality")
    forged = forged.model_copy(update={"ca_file": authority.ca_file})
    nobody = ssl.create_default_context(cafile=authority.ca_file)
    with listening(tmp_path / "spool", tls=authority.issue("node")) as node:
        for context in (client_context(forged), nobody):
            # In TLS 1.3 the client hears of it after its own handshake.
            stranger = node.call(tls=context)
            assert not stranger.is_established


def test_a_silent_caller_in_the_handshake_keeps_nobody_waiting(authority: Authority, tmp_path: Path) -> None:
    with (
        listening(tmp_path, tls=authority.issue("node"), timeout_s=30) as node,
        socket.create_connection((HOME, node.port)),
    ):
        began = time.monotonic()
        modality = node.call(tls=client_context(authority.issue("modality")))
        assert modality.send_c_echo().Status == 0
        assert time.monotonic() - began < 5
        modality.release()


def test_tls_files_that_do_not_fit_are_one_clear_line(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue("node").model_copy(update={"key_file": authority.ca_file})
    with pytest.raises(ConfigError, match="TLS files") as caught, listening(tmp_path, tls=files):
        pass
    assert str(tmp_path) not in caught.value.message + caught.value.hint


def planted(uid: str) -> Dataset:
    """A small image whose header is full of what must not be logged, and malformed as well."""
    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = MG, uid
    one.PatientName = "PLANTED^NAME"
    one.PatientID = "PLANTED-4711"
    one.StudyInstanceUID = one.SeriesInstanceUID = "1.2.826.4711.1"
    one.StudyDate = "PLANTED"
    one.file_meta = Dataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return one


def test_patient_data_never_reach_a_log_even_at_debug(tmp_path: Path) -> None:
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.name} {record.getMessage()} {record.exc_info}")

    listener = Listener(logging.DEBUG)
    root = logging.getLogger()
    level = root.level
    root.addHandler(listener)
    root.setLevel(logging.DEBUG)

    def fail(_: ReceivedInstance) -> None:
        raise RuntimeError("PLANTED in an error of the receiver's own")

    uid = generate_uid()
    try:
        logging.getLogger("control").debug("heard")
        for handler in (None, fail):
            with listening(tmp_path, handler) as node:
                modality = node.call()
                modality.send_c_store(planted(uid))
                modality.abort()
    finally:
        root.removeHandler(listener)
        root.setLevel(level)
    text = "\n".join(lines)
    assert "control heard" in text
    assert len(list(tmp_path.iterdir())) == 1  # the image that was received, and none of the receiver's error
    for secret in ("PLANTED", "4711", str(uid)):
        assert secret not in text


def test_what_a_sender_sends_is_imported_when_it_pauses_and_then_gone(
    images: list[Path], tmp_path: Path
) -> None:
    settings = DicomNodeSettings(ae_title="MAMMOFED", port=free_port(), peers={PEER: [HOME]}, min_free_mb=0)
    folder = tmp_path / "received"
    left_by_a_killed_process = folder / "batch"
    left_by_a_killed_process.mkdir(parents=True)
    (left_by_a_killed_process / "1.dcm").write_bytes(images[0].read_bytes())
    batches: list[set[str]] = []
    stop = threading.Event()

    def import_folder(batch: Path) -> ImportReport:
        batches.append({dcmread(file).SOPInstanceUID for file in batch.iterdir()})
        return ImportReport(kind="test", added=1, already_there=0, refusals=(), num_ignored=0)

    running = threading.Thread(
        target=lambda: receive(
            settings,
            folder=folder,
            import_folder=import_folder,
            keep=lambda _batch, _report: None,
            on_import=lambda _: None,
            should_stop=stop.is_set,
            quiet_s=0.5,
        )
    )
    running.start()
    wait_for(lambda: len(batches) == 1)
    modality = Listening(settings.port, folder).call()
    for image in images[1:]:
        assert modality.send_c_store(dcmread(image)).Status == 0
    modality.release()
    wait_for(lambda: len(batches) == 2)
    stop.set()
    running.join(timeout=20)
    assert not running.is_alive()
    uids = [dcmread(image, stop_before_pixels=True).SOPInstanceUID for image in images]
    assert batches == [{uids[0]}, set(uids[1:])]
    assert list(folder.rglob("*.dcm")) == []


def test_what_came_before_a_stop_is_imported_before_the_end(images: list[Path], tmp_path: Path) -> None:
    settings = DicomNodeSettings(ae_title="MAMMOFED", port=free_port(), peers={PEER: [HOME]}, min_free_mb=0)
    (tmp_path / "batch").mkdir()
    (tmp_path / "batch" / "1.dcm").write_bytes(images[0].read_bytes())
    imported: list[ImportReport] = []
    report = ImportReport(kind="test", added=1, already_there=0, refusals=(), num_ignored=0)
    receive(
        settings,
        folder=tmp_path,
        import_folder=lambda _: report,
        keep=lambda _batch, _report: None,
        on_import=imported.append,
        should_stop=lambda: True,
        quiet_s=3600,
    )
    assert imported == [report]
    assert list(tmp_path.rglob("*.dcm")) == []


def test_a_batch_waits_while_another_import_holds_the_catalog(images: list[Path], tmp_path: Path) -> None:
    settings = DicomNodeSettings(ae_title="MAMMOFED", port=free_port(), peers={PEER: [HOME]}, min_free_mb=0)
    home, folder = tmp_path / "home", tmp_path / "received"
    (folder / "batch").mkdir(parents=True)
    (folder / "batch" / "1.dcm").write_bytes(images[0].read_bytes())
    imported: list[ImportReport] = []
    tries: list[Path] = []

    def import_folder(batch: Path) -> ImportReport:
        tries.append(batch)
        return Importer(catalog=catalog, actor="local:test").bring_in(batch)

    with Catalog.open(home) as catalog, Catalog.open(home) as other:
        running = threading.Thread(
            target=lambda: receive(
                settings,
                folder=folder,
                import_folder=import_folder,
                keep=lambda batch, report: keep_quarantined(home, batch, report),
                on_import=imported.append,
                should_stop=lambda: bool(imported),
                quiet_s=0.1,
            )
        )
        with other.importing():
            running.start()
            wait_for(lambda: len(tries) > 1)
            assert running.is_alive()
        wait_for(lambda: bool(imported))
        running.join(timeout=20)
    assert [one.added for one in imported] == [1]
    assert list(folder.rglob("*.dcm")) == []


def test_what_is_broken_of_a_batch_is_kept_and_the_rest_is_not(images: list[Path], tmp_path: Path) -> None:
    settings = DicomNodeSettings(ae_title="MAMMOFED", port=free_port(), peers={PEER: [HOME]}, min_free_mb=0)
    home, folder = tmp_path / "home", tmp_path / "received"
    (folder / "batch").mkdir(parents=True)
    whole, broken = images[0].read_bytes(), images[1].read_bytes()[:-20_000]
    (folder / "batch" / "1.dcm").write_bytes(whole)
    (folder / "batch" / "2.dcm").write_bytes(broken)
    with Catalog.open(home) as catalog:
        imported: list[ImportReport] = []
        receive(
            settings,
            folder=folder,
            import_folder=Importer(catalog=catalog, actor="local:test").bring_in,
            keep=lambda batch, report: keep_quarantined(home, batch, report),
            on_import=imported.append,
            should_stop=lambda: True,
        )
    assert [(one.added, sum(one.quarantined.values())) for one in imported] == [(1, 1)]
    assert [file.read_bytes() for file in quarantined_folder(home).iterdir()] == [broken]
    assert list(folder.rglob("*.dcm")) == []


def test_the_oldest_of_what_is_kept_goes_when_there_is_too_much(tmp_path: Path) -> None:
    for number in range(4):
        file = tmp_path / f"{number}.dcm"
        file.write_bytes(bytes(100))
        os.utime(file, (number, number))
        quarantine(tmp_path / "home", [file], max_bytes=250)
    assert sorted(file.name for file in quarantined_folder(tmp_path / "home").iterdir()) == ["2.dcm", "3.dcm"]


def test_a_slow_sender_is_waited_for(images: list[Path], tmp_path: Path) -> None:
    with listening(tmp_path, timeout_s=1, max_pdu_bytes=4096) as node, BadLine(node.port) as line:
        modality = node.call(port=line.port)
        line.bytes_per_s = 40_000
        began = time.monotonic()
        assert modality.send_c_store(dcmread(images[0])).Status == 0
        assert time.monotonic() - began > 1.5  # longer than the silence that the node bears
        modality.release()
    assert len(node.arrived) == 1
