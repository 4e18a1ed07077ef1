"""A real PACS for tests: Orthanc on loopback, started and ended by the test, with invented patients in it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE

from client.dicom_node.contexts import separate_contexts
from client.dicom_node.settings import TlsFiles
from deploy.demo.phantoms import GE, HOLOGIC, WrittenImage, write_hospital

BINARY = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
TITLE = "ARCHIVE"
OUR_TITLE = "MAMMOFED"
STARTS_WITHIN_S = 60
needs_orthanc = pytest.mark.skipif(
    not Path(BINARY).exists() or not DICOMWEB_PLUGIN.exists(),
    reason="Orthanc with its DICOMweb plugin is not installed",
)


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(kw_only=True)
class Orthanc:
    """A running archive.

    Attributes
    ----------
    our_port
        Where the archive sends what C-MOVE asks for.
    """

    dicom_port: int
    http_port: int
    our_port: int
    images: list[WrittenImage] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Root of DICOMweb."""
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def rest(self, path: str) -> object:
        """What Orthanc's own interface says."""
        answer = requests.get(f"http://127.0.0.1:{self.http_port}/{path}", timeout=10)
        answer.raise_for_status()
        return answer.json()

    def fill(self, files: list[Path]) -> None:
        """Send files as a modality would."""
        entity = AE(ae_title="MODALITY")
        association = entity.associate(
            "127.0.0.1", self.dicom_port, contexts=separate_contexts(), ae_title=TITLE
        )
        assert association.is_established
        for file in files:
            assert association.send_c_store(dcmread(file)).Status == 0
        association.release()

    def headers(self) -> list[Dataset]:
        """What the archive was filled with."""
        return [dcmread(image.image_path, stop_before_pixels=True) for image in self.images]


@contextlib.contextmanager
def running_orthanc(folder: Path, **more: object) -> Iterator[Orthanc]:
    """An empty archive in a folder, for as long as the block lasts.

    Parameters
    ----------
    more
        Settings of Orthanc beyond or instead of ours.
    """
    archive = Orthanc(dicom_port=free_port(), http_port=free_port(), our_port=free_port())
    settings: Mapping[str, object] = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(DICOMWEB_PLUGIN)],
        "HttpPort": archive.http_port,
        "DicomPort": archive.dicom_port,
        "DicomAet": TITLE,
        "DicomCheckCalledAet": True,
        "DicomModalities": {"us": [OUR_TITLE, "127.0.0.1", archive.our_port]},
        "DicomAlwaysAllowFind": False,
        "DicomAlwaysAllowGet": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "OrthancExplorerEnabled": False,
        "DicomScpTimeout": 30,
        "StableAge": 1,
        "OverwriteInstances": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(
            [BINARY, str(folder / "orthanc.json")],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            _wait_until_up(archive, process)
            yield archive
        finally:
            process.kill()  # it takes seconds to end by itself, and nobody needs what it holds
            process.wait()


def _wait_until_up(archive: Orthanc, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    for port in (archive.http_port, archive.dicom_port):
        while True:
            assert process.poll() is None, "Orthanc has ended; see its log"
            assert time.monotonic() < deadline, "Orthanc does not come up"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)


@contextlib.contextmanager
def filled_orthanc(folder: Path, **more: object) -> Iterator[Orthanc]:
    """An archive with the studies of five women of two makers' units: JPEG 2000 and uncompressed."""
    with running_orthanc(folder / "orthanc", **more) as archive:
        for seed, vendor, women in ((5, HOLOGIC, 3), (6, GE, 2)):
            source = folder / f"hospital-{vendor.name}"
            archive.images += write_hospital(
                source, vendor=vendor, patients=women, seed=seed, density_mix={"b": 1.0}, spacing_mm=0.5
            )
        archive.fill([image.image_path for image in archive.images])
        yield archive


class BadLine:
    """A line to a port of loopback that is slow, or breaks or falls silent on the way back.

    Attributes
    ----------
    port
        Where the line begins.
    bytes_per_s
        How fast the line is, either way; None for as fast as can be.
    cuts
        For each connection to come, after how many bytes of answers it breaks; then the line is good.
    silent
        Whether a connection that should break falls silent instead, and stays open.
    dead
        No connection is let through any more.
    bytes_back
        Bytes of answers so far.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.bytes_per_s: int | None = None
        self.cuts: list[int] = []
        self.silent = False
        self.dead = False
        self.bytes_back = 0
        self._open: list[socket.socket] = []

    def __enter__(self) -> BadLine:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in [self._listener, *self._open]:
            _close(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.dead:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._target_port))
                self._open += [near, far]
                budget = self.cuts.pop(0) if self.cuts else None
                threading.Thread(target=self._forth, args=(near, far), daemon=True).start()
                threading.Thread(target=self._back, args=(far, near, budget), daemon=True).start()

    def _forth(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(4096):
                self._dawdle(data)
                far.sendall(data)
        _close(far)

    def _dawdle(self, data: bytes) -> None:
        if self.bytes_per_s is not None:
            time.sleep(len(data) / self.bytes_per_s)

    def _back(self, far: socket.socket, near: socket.socket, budget: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(4096):
                self._dawdle(data)
                if budget is not None:
                    data = data[:budget]
                    budget -= len(data)
                near.sendall(data)
                self.bytes_back += len(data)
                if budget == 0:
                    if self.silent:
                        return
                    break
        _close(near)
        _close(far)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@dataclass(frozen=True)
class Authority:
    """Issues certificates for both sides of DICOM over TLS, in a folder of the test."""

    folder: Path
    name: str = "hospital"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        key, certificate = self._new(self.name, None)
        _write_pem(self.folder / f"{self.name}-ca", key, certificate)

    @property
    def ca_file(self) -> Path:
        """The root's certificate."""
        return self.folder / f"{self.name}-ca.crt"

    def issue(self, who: str) -> TlsFiles:
        """A certificate for loopback, good for either side."""
        root = x509.load_pem_x509_certificate(self.ca_file.read_bytes())
        root_key = load_pem_private_key((self.folder / f"{self.name}-ca.key").read_bytes(), None)
        key, certificate = self._new(who, (root, root_key))
        stem = self.folder / f"{self.name}-{who}"
        _write_pem(stem, key, certificate)
        return TlsFiles(
            certificate_file=stem.with_suffix(".crt"), key_file=stem.with_suffix(".key"), ca_file=self.ca_file
        )

    def _new(self, who, issuer):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)])
        root, root_key = issuer or (None, key)
        now = datetime.now(UTC)
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=issuer is None,
            crl_sign=issuer is None,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if root is None else root.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
            .sign(root_key, hashes.SHA256())
        )
        return key, certificate


def _write_pem(stem: Path, key, certificate) -> None:
    stem.with_suffix(".crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    stem.with_suffix(".key").write_bytes(pem)
