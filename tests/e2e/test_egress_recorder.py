"""What leaves a site: everything it sends in a run, on all channels, recorded in the clear.

The site lives in a network namespace whose only route is a recorder. The recorder can read along because the
test, which holds both sides' keys, lets it stand in for each towards the other; an attacker has neither key.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from client.catalog import Catalog, Part
from client.home import SiteHome
from deploy.demo.federation import Role, site
from server.checkpoints import CheckpointFiles, read_grid
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from shared.fixed_point.update_file import read_update
from shared.model import initial_model
from shared.model.sent import sent_shapes
from shared.model.weights import weights_of
from shared.plan import Plan
from shared.records import Phase
from shared.transfer.transfer_pb2 import SendPart
from shared.trust.issuing import Issuer, new_server_certificate
from shared.trust.keys import TlsKey
from tests.e2e.isolation import Destination, Namespace, PacketWitness, isolated, why_not
from tests.e2e.leaks import (
    Windows,
    forms_of,
    share_found,
    texts_found,
    texts_of_dicom,
    windows_of_bytes,
    windows_of_files,
    windows_of_site,
    with_base64_opened,
)
from tests.e2e.recorder import Recorder, Wiretap
from tests.e2e.small_federation import Hospital, SmallFederation, build, running, shared_hospitals

OBSTACLE = why_not()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))]

ROUNDS = 2
RECORDED = "hospital-lake"
PLANTED_FOLDER = "export-from-archive-of-dr-mueller"
PUBLIC_PORTS = 3
MAX_OVERHEAD_RATIO = 1.2
MAX_OVERHEAD_BYTES = 256 * 1024
MIN_WINDOWS = 500
MOST = 0.99
MIN_UPLOAD_BYTES = 1 << 16
HEADER_BYTES = 16 * 1024
LEAK = """
import socket, ssl, sys
host, port, root, body = sys.argv[1], int(sys.argv[2]), sys.argv[3], bytes.fromhex(sys.argv[4])
context = ssl.create_default_context(cafile=root)
with context.wrap_socket(socket.create_connection((host, port)), server_hostname=host) as tls:
    tls.sendall(b"POST /health HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n")
    tls.sendall(b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body)
    while tls.recv(4096):
        pass
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"query", (host, 53))
"""
"""What a careless program would do: send image and name inside a request, and ask a name server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A run of two rounds as the recorder saw it, and the means to record more.

    Attributes
    ----------
    raw
        What the site sent in the clear, by port; HTTP/2 framing included.
    stream
        Everything it sent, without framing, and with base64 opened.
    bytes_to
        Bytes of every packet that left the namespace.
    released
        SHA-256 of the updates that the site's ledger says were released, in order.
    uploads
        What the site has sent to the blob service, in order.
    opened
        The integers in these uploads, which travel packed, and each byte plane of them.
    """

    federation: SmallFederation
    namespace: Namespace
    recorder: Recorder
    witness: PacketWitness
    hospital: Hospital
    site: Role
    plan: Plan
    raw: dict[int, bytes]
    fetched_bytes: int
    stream: bytes
    bytes_to: dict[Destination, int]
    released: list[str]
    uploads: list[bytes]
    opened: bytes
    seconds: float


@pytest.fixture(scope="module")
def recording(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recording]:
    folder = tmp_path_factory.mktemp("egress")
    hospitals = _two_hospitals(shared_hospitals(request.config, tmp_path_factory), folder)
    with contextlib.ExitStack() as stack:
        namespace = stack.enter_context(isolated())
        federation = build(folder, hospitals, host=namespace.here)
        federation.sites[RECORDED] = site(federation.sites[RECORDED].home, prefix=namespace.prefix)
        recorder = Recorder(_wiretap(federation, namespace))
        stack.enter_context(recorder.listening())
        witness = PacketWitness(namespace=namespace)
        stack.enter_context(witness.watching())
        began = time.monotonic()
        stack.enter_context(running(federation))
        plan = federation.write_plan("egress", rounds=ROUNDS, local_epochs=1)
        shown = federation.finish(federation.launch(plan))
        assert all(part["state"] == "admitted" for one in shown["rounds"] for part in one["parts"]), shown
        role = federation.sites[RECORDED]
        uploads = _uploads(recorder, federation.first_port + PUBLIC_PORTS - 1)
        yield Recording(
            federation=federation,
            namespace=namespace,
            recorder=recorder,
            witness=witness,
            hospital=next(each for each in hospitals if each.name == RECORDED),
            site=role,
            plan=Plan.from_toml(plan.read_text()),
            raw=_sent_by_port(recorder),
            fetched_bytes=_received_by(recorder, federation.first_port + PUBLIC_PORTS - 1),
            stream=_searchable(recorder),
            bytes_to=dict(witness.bytes_to),
            released=_released(role.home),
            uploads=uploads,
            opened=_opened(uploads, federation, Plan.from_toml(plan.read_text()), shown["run_id"]),
            seconds=time.monotonic() - began,
        )


def _two_hospitals(made: list[Hospital], folder: Path) -> list[Hospital]:
    (recorded,) = [each for each in made if each.name == RECORDED]
    other = next(each for each in made if each.name != RECORDED)
    planted = folder / PLANTED_FOLDER
    shutil.copytree(recorded.folder, planted)
    return [replace(recorded, folder=planted), other]


def _wiretap(federation: SmallFederation, namespace: Namespace) -> Wiretap:
    coordinator = CoordinatorHome(federation.coordinator.home)
    key = TlsKey.generate()
    chain_pem = new_server_certificate(
        hosts=[namespace.here],
        key=key,
        root_pem=coordinator.root_certificate_file.read_bytes(),
        issuer=Issuer(
            certificate_pem=coordinator.root_certificate_file.read_bytes(),
            key=TlsKey.load(coordinator.root_key_file),
        ),
        now=time.time(),
    )
    own = federation.folder / "recorder"
    own.mkdir()
    key.save(own / "tls.key")
    (own / "tls.crt").write_bytes(chain_pem)
    fleet, enrolment, transfer = range(federation.first_port, federation.first_port + PUBLIC_PORTS)
    return Wiretap(
        address=namespace.here,
        peer=namespace.there,
        ports={fleet: "http/1.1", enrolment: "h2", transfer: "h2"},
        chain_file=own / "tls.crt",
        key_file=own / "tls.key",
        root_file=coordinator.root_certificate_file,
        site_home=SiteHome(federation.sites[RECORDED].home),
        mutual_port=transfer,
    )


def _sent_by_port(recorder: Recorder) -> dict[int, bytes]:
    sent: dict[int, bytes] = {}
    for each in recorder.conversations:
        sent[each.port] = sent.get(each.port, b"") + bytes(each.sent)
    return sent


def _received_by(recorder: Recorder, port: int) -> int:
    return sum(len(each.received) for each in recorder.conversations if each.port == port)


def _searchable(recorder: Recorder) -> bytes:
    parts = [part for each in recorder.conversations for part in (*each.headers(), *each.bodies())]
    return with_base64_opened(b"\n".join(parts))


def _released(site_home: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(site_home / "site.db")) as store:
        rows = store.execute("SELECT sha256 FROM ledger WHERE kind = 'update' ORDER BY number").fetchall()
    return [digest for (digest,) in rows]


def _uploads(recorder: Recorder, transfer_port: int) -> list[bytes]:
    calls = [each.bodies() for each in recorder.conversations if each.port == transfer_port]
    return [_blob_in(body) for bodies in calls for body in bodies if len(body) > MIN_UPLOAD_BYTES]


def _opened(uploads: list[bytes], federation: SmallFederation, plan: Plan, run_id: str) -> bytes:
    """What the uploads hold, read on the grids that the coordinator keeps beside its weights."""
    coordinator = Coordinator.open(CoordinatorHome(federation.coordinator.home))
    sent = sent_shapes(initial_model(plan), plan.aggregation)
    states = {
        one.number: one.base_state
        for one in coordinator.runs.rounds(run_id)
        if one.phase is Phase.TRAIN and one.base_state is not None
    }
    parts = []
    for number, upload in enumerate(uploads, start=1):
        state = coordinator.blobs.path(states[number].digest)
        grid = read_grid(CheckpointFiles(weights=state, state=state), sent, bits=plan.aggregation.bits)
        for integers in read_update(io.BytesIO(upload), grid):
            planes = integers.view(np.uint8).reshape(len(integers), -1)
            parts += [integers.tobytes(), *(planes[:, place].tobytes() for place in range(planes.shape[1]))]
    return b"\n".join(parts)


def _blob_in(body: bytes) -> bytes:
    """The blob in a call of `Send`: gRPC messages, each behind a flag and its length in four bytes."""
    parts, at = [], 0
    while at < len(body):
        assert body[at] == 0, "a compressed message"
        length = int.from_bytes(body[at + 1 : at + 5])
        parts.append(SendPart.FromString(body[at + 5 : at + 5 + length]).data)
        at += 5 + length
    return b"".join(parts)


def _identifiers(recording: Recording) -> set[str]:
    """Everything that could name a patient, an image, a file or a folder of the recorded hospital."""
    home, folder = recording.site.home, recording.hospital.folder
    texts = {text for image in recording.hospital.images for text in texts_of_dicom(image.image_path)}
    for image in recording.hospital.images:
        texts |= {image.patient_name, image.patient_id, image.accession_number}
        texts |= {image.image_path.stem, image.mask_path.stem}
    with Catalog.open(home) as catalog:
        texts |= {example_id for part in Part for example_id in catalog.examples(part)}
    return texts | {folder.name, str(folder), str(home), home.name}


def _images(recording: Recording) -> dict[str, Windows]:
    files = [image.image_path for image in recording.hospital.images]
    return {**windows_of_files(files), **windows_of_site(recording.site.home, recording.plan.model)}


def test_every_packet_goes_to_the_coordinators_public_ports(recording: Recording) -> None:
    here, first = recording.namespace.here, recording.federation.first_port
    allowed = {Destination("TCP", here, port) for port in range(first, first + PUBLIC_PORTS)}
    neighbourhood = {each for each in recording.bytes_to if each.protocol in {"ARP", "ICMPv6"}}

    assert allowed <= set(recording.bytes_to)
    assert set(recording.bytes_to) - neighbourhood == allowed
    assert recording.witness.missed == 0


def test_no_identifier_leaves_in_any_form(recording: Recording) -> None:
    identifiers = _identifiers(recording)

    assert len(identifiers) > 10 * len(recording.hospital.images)
    assert texts_found(identifiers, recording.stream + recording.opened) == []


def test_no_piece_of_an_image_or_a_mask_leaves(recording: Recording) -> None:
    images = _images(recording)

    assert {name: len(windows) for name, windows in images.items() if len(windows) < MIN_WINDOWS} == {}
    sent = recording.stream + recording.opened
    found = {name: share_found(windows, sent) for name, windows in images.items()}
    assert found == dict.fromkeys(images, 0)


def test_little_more_than_the_updates_leaves(recording: Recording) -> None:
    sent = [len(recording.raw[port]) for port in sorted(recording.raw)]
    updates = sum(map(len, recording.uploads))
    on_the_line = sum(recording.bytes_to.values())
    print(  # noqa: T201 - the figure is a result of its own
        f"\nIn {recording.seconds:.0f} s the site sent {sum(sent):,} bytes inside TLS "
        f"(fleet {sent[0]:,}, enrolment {sent[1]:,}, transfer {sent[2]:,}; {on_the_line:,} on the line); "
        f"its {ROUNDS} updates were {updates:,} of them."
    )

    assert updates < sum(sent) < MAX_OVERHEAD_RATIO * updates + MAX_OVERHEAD_BYTES
    assert on_the_line < MAX_OVERHEAD_RATIO * updates + 2 * MAX_OVERHEAD_BYTES


def test_the_weights_come_whole_once_and_then_by_what_has_changed(recording: Recording) -> None:
    whole = 4 * sum(tensor.numel() for tensor in weights_of(initial_model(recording.plan)).values())
    ratio = recording.fetched_bytes / whole
    print(f"\nThe site received {ratio:.2f} times the weights for {ROUNDS} rounds and a test.")  # noqa: T201

    # The first weights whole; then at most 0.9 of them for each later round and for the test.
    assert 1 < ratio < 1 + 0.9 * ROUNDS


def test_the_recorder_saw_whole_updates_and_they_hold_integers_for_weights_alone(
    recording: Recording,
) -> None:
    num_weights = sum(tensor.numel() for tensor in weights_of(initial_model(recording.plan)).values())

    assert len(recording.opened) > 2 * 2 * num_weights * ROUNDS
    assert max(map(len, recording.uploads)) < 0.5 * 4 * num_weights + HEADER_BYTES
    assert [hashlib.sha256(upload).hexdigest() for upload in recording.uploads] == recording.released
    assert len(recording.uploads) == ROUNDS
    for upload in recording.uploads:
        assert share_found(windows_of_bytes(upload), recording.stream) > MOST
    for said in (b"/mammofed.transfer.v1.Transfer/Send", b"/v1/fleet/pull-messages"):
        assert said in recording.stream
    for compressed in (b"grpc-encoding", b"content-encoding"):
        assert compressed not in recording.stream.lower()


def test_a_leaky_program_in_the_namespace_would_be_caught(recording: Recording) -> None:
    image = recording.hospital.images[0]
    pieces = _images(recording)
    body = b"".join(
        [
            sorted(forms_of(image.patient_name), key=len)[-1],
            image.patient_id.encode("utf-16-le"),
            *(windows[len(windows) // 2].tobytes() for windows in pieces.values()),
        ]
    )
    root = CoordinatorHome(recording.federation.coordinator.home).root_certificate_file
    command = [*recording.namespace.prefix, sys.executable, "-c", LEAK, recording.namespace.here]
    arguments = [str(recording.federation.first_port), str(root), body.hex()]

    subprocess.run([*command, *arguments], check=True, capture_output=True, timeout=30)
    stream = _searchable(recording.recorder)

    assert {image.patient_name, image.patient_id} <= set(texts_found(_identifiers(recording), stream))
    assert [name for name, windows in pieces.items() if not share_found(windows, stream)] == []
    assert Destination("UDP", recording.namespace.here, 53) in recording.witness.bytes_to
