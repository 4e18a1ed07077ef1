"""The blob service over real TLS on loopback: breaks, rogues and strangers."""

import contextlib
import os
import socket
import threading
import time
from dataclasses import dataclass, field

import grpc
import pytest

from shared.errors import ConfigError, NotFoundError, TamperedError, TransferError, TrustError
from shared.transfer import transfer_pb2, transfer_pb2_grpc
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore
from shared.transfer.client import BlobClient
from shared.transfer.patience import RetryPolicy
from shared.transfer.rpc import SENT_CHUNK_BYTES, open_channel
from shared.transfer.service import TransferService, serve_blobs
from shared.trust.issuing import Issuer, new_root, new_server_certificate, new_site_certificate
from shared.trust.keys import TlsKey
from shared.trust.signing_request import new_csr
from shared.trust.tls import (
    enrolment_channel_credentials,
    mutual_channel_credentials,
    mutual_server_credentials,
)
from tests.full_disk import disk_that_holds

MB = 1_000_000
QUICK = RetryPolicy(patience_s=20, first_delay_s=0.05, max_delay_s=0.2)
IMPATIENT = RetryPolicy(patience_s=0.5, first_delay_s=0.05, max_delay_s=0.1)


class Federation:
    """A root and what it issues."""

    def __init__(self):
        self.root_key = TlsKey.generate()
        self.root_pem = new_root(federation_name="Test", key=self.root_key, now=time.time())
        self.server_key = TlsKey.generate()
        self.chain_pem = new_server_certificate(
            hosts=["127.0.0.1"],
            key=self.server_key,
            root_pem=self.root_pem,
            issuer=Issuer(certificate_pem=self.root_pem, key=self.root_key),
            now=time.time(),
        )

    def server_credentials(self):
        return mutual_server_credentials(
            chain_pem=self.chain_pem, key=self.server_key, root_pem=self.root_pem
        )

    def site_credentials(self, site_id, trusting=None):
        key = TlsKey.generate()
        certificate_pem = new_site_certificate(
            csr_pem=new_csr(key),
            site_id=site_id,
            issuer=Issuer(certificate_pem=self.root_pem, key=self.root_key),
            now=time.time(),
        )
        return mutual_channel_credentials(
            root_pem=(trusting or self).root_pem, certificate_pem=certificate_pem, key=key
        )


@dataclass
class Rules:
    """An authorizer by lists; everything that is not listed is refused."""

    active: set[str] = field(default_factory=lambda: {"mgh", "ismd"})
    fetch: set[tuple[str, str]] = field(default_factory=set)
    send: set[tuple[str, str]] = field(default_factory=set)

    def is_active(self, site_id):
        return site_id in self.active

    def may_fetch(self, site_id, digest):
        return (site_id, digest) in self.fetch

    def may_send(self, site_id, digest, size_bytes):
        return (site_id, digest) in self.send


class Witness:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def fetched(self, site_id, digest):
        self.told.append((site_id, "fetched", digest))

    def sending(self, site_id):
        self.told.append((site_id, "sending"))


class Coordinator:
    """A blob service on loopback."""

    def __init__(self, federation, folder, port=0):
        self.store = BlobStore(folder)
        self.rules, self.witness = Rules(), Witness()
        self.server, self.port = serve_blobs(
            TransferService(self.store, self.rules, witness=self.witness),
            host="127.0.0.1",
            port=port,
            credentials=federation.server_credentials(),
            num_threads=8,
        )

    def offer(self, content, *site_ids):
        ref = self.store.put_bytes(content)
        self.rules.fetch |= {(site_id, ref.digest) for site_id in site_ids}
        return ref

    def expect(self, ref, *site_ids):
        self.rules.send |= {(site_id, ref.digest) for site_id in site_ids}


class Wire:
    """A TCP proxy that counts bytes and can cut the connection or swallow what passes."""

    def __init__(self, port):
        self.target = port
        self.down_bytes = self.up_bytes = self.num_connections = 0
        self.cut_after_down = self.cut_after_up = None
        self.black_hole = False
        self._sockets = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            self.num_connections += 1
            self._sockets += [near, far]
            threading.Thread(target=self._pump, args=(near, far, "up"), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near, "down"), daemon=True).start()

    def _pump(self, source, sink, direction):
        try:
            while data := source.recv(65_536):
                if self.black_hole:
                    continue
                sink.sendall(data)
                count = getattr(self, f"{direction}_bytes") + len(data)
                setattr(self, f"{direction}_bytes", count)
                limit = getattr(self, f"cut_after_{direction}")
                if limit is not None and count > limit:
                    setattr(self, f"cut_after_{direction}", None)
                    break
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.close()
        for end in self._sockets:
            end.close()


@pytest.fixture(scope="module")
def federation():
    return Federation()


@pytest.fixture(scope="module")
def mgh(federation):
    return federation.site_credentials("mgh")


@pytest.fixture
def coordinator(federation, tmp_path):
    coordinator = Coordinator(federation, tmp_path / "coordinator")
    yield coordinator
    coordinator.server.stop(None).wait(10)


@pytest.fixture
def wire(coordinator):
    wire = Wire(coordinator.port)
    yield wire
    wire.close()


@pytest.fixture
def local(tmp_path):
    return BlobStore(tmp_path / "site")


@pytest.fixture
def connect():
    channels = []

    def client(port, credentials, policy=QUICK):
        channels.append(open_channel(f"127.0.0.1:{port}", credentials))
        return BlobClient(channels[-1], policy)

    yield client
    for channel in channels:
        channel.close()


@pytest.fixture
def raw(coordinator, mgh):
    """The protocol itself, for what our own client would never send."""
    with open_channel(f"127.0.0.1:{coordinator.port}", mgh) as channel:
        yield transfer_pb2_grpc.TransferStub(channel)


def parts(*pieces):
    for piece in pieces:
        if isinstance(piece, bytes):
            yield transfer_pb2.SendPart(data=piece)
        else:
            ref, offset = piece
            header = transfer_pb2.SendHeader(digest=ref.digest, size_bytes=ref.size_bytes, offset=offset)
            yield transfer_pb2.SendPart(header=header)


def code_of(call, *arguments):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, timeout=20)
    return caught.value.code()


@pytest.mark.parametrize("size_bytes", [0, 1, SENT_CHUNK_BYTES, 3 * SENT_CHUNK_BYTES + 1])
def test_a_blob_goes_down_and_up_whole_and_says_how_far_it_is(size_bytes, coordinator, connect, mgh, local):
    down, content = coordinator.offer(os.urandom(size_bytes), "mgh"), os.urandom(size_bytes)
    up = local.put_bytes(content)
    coordinator.expect(up, "mgh")
    client, seen = connect(coordinator.port, mgh), []

    client.fetch(down, local, progress=lambda done, total: seen.append((done, total)))
    client.send(up, local)

    local.verify(down)
    coordinator.store.verify(up)
    assert seen[-1] == (size_bytes, size_bytes)
    assert seen == sorted(seen)
    told = [("mgh", "fetched", down.digest), ("mgh", "sending")]
    assert coordinator.witness.told == (told if size_bytes else [])  # both have the empty blob already


def test_an_interrupted_download_goes_on_where_it_broke(coordinator, connect, mgh, local, wire):
    ref = coordinator.offer(os.urandom(64 * MB), "mgh")
    wire.cut_after_down = 48 * MB

    connect(wire.port, mgh).fetch(ref, local)

    local.verify(ref)
    assert coordinator.witness.told == [("mgh", "fetched", ref.digest)]  # not when it broke
    assert wire.num_connections >= 2
    assert 64 * MB < wire.down_bytes < 90 * MB  # what was under way is lost; begun again it would be 112


def test_an_interrupted_upload_goes_on_where_it_broke(coordinator, connect, mgh, local, wire):
    ref = local.put_bytes(os.urandom(64 * MB))
    coordinator.expect(ref, "mgh")
    wire.cut_after_up = 48 * MB

    connect(wire.port, mgh).send(ref, local)

    coordinator.store.verify(ref)
    assert wire.num_connections >= 2
    assert 64 * MB < wire.up_bytes < 90 * MB  # what was under way is lost; begun again it would be 112


def test_a_download_that_was_given_up_goes_on_in_a_new_process_of_the_site(
    coordinator, connect, mgh, local, wire
):
    ref = coordinator.offer(os.urandom(32 * MB), "mgh")
    wire.cut_after_down = 24 * MB
    with pytest.raises(TransferError, match="stopped"):
        connect(wire.port, mgh).fetch(ref, local, should_stop=lambda: wire.down_bytes > 24 * MB)
    begun = local.partial_bytes(ref.digest)
    assert begun > 2 * MB

    seen = []
    connect(coordinator.port, mgh).fetch(ref, local, progress=lambda done, total: seen.append(done))

    assert seen[0] > begun
    local.verify(ref)


def test_what_is_there_already_is_not_moved_again(coordinator, connect, mgh, local, wire):
    content = os.urandom(4 * MB)
    ref = coordinator.offer(content, "mgh")
    local.put_bytes(content)
    coordinator.expect(ref, "mgh")
    client = connect(wire.port, mgh)

    client.fetch(ref, local)
    client.send(ref, local)

    assert wire.up_bytes + wire.down_bytes < MB / 10


def test_a_coordinator_that_comes_back_later_is_found(federation, connect, mgh, local, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    store = BlobStore(tmp_path / "late")
    ref = store.put_bytes(b"late")
    client = connect(port, mgh)

    fetching = threading.Thread(target=client.fetch, args=(ref, local))
    fetching.start()
    time.sleep(0.5)
    late = Coordinator(federation, tmp_path / "late", port)
    late.rules.fetch.add(("mgh", ref.digest))
    fetching.join(20)
    late.server.stop(None).wait(10)

    local.verify(ref)


@pytest.mark.parametrize("direction", ["fetch", "send"])
def test_a_transfer_into_a_black_hole_is_stopped_at_once(direction, coordinator, connect, mgh, local, wire):
    ref = coordinator.offer(os.urandom(8 * MB), "mgh")
    if direction == "send":
        ref = local.put_bytes(os.urandom(8 * MB))
        coordinator.expect(ref, "mgh")
    client, swallowed_at = connect(wire.port, mgh), []

    def swallow(done, total):
        wire.black_hole = True
        swallowed_at.append(time.monotonic())

    def should_stop():
        return bool(swallowed_at) and time.monotonic() > swallowed_at[0] + 0.5

    with pytest.raises(TransferError, match="stopped"):
        getattr(client, direction)(ref, local, progress=swallow, should_stop=should_stop)

    assert time.monotonic() - swallowed_at[0] < 2
    assert not (coordinator.store if direction == "send" else local).has(ref.digest)


def test_a_hanging_upload_is_overtaken_by_its_sites_next_attempt(coordinator, connect, mgh, local, raw):
    content = os.urandom(4 * MB)
    ref = local.put_bytes(content)
    coordinator.expect(ref, "mgh")
    hang = threading.Event()

    def dead_line():
        yield from parts((ref, 0), content[:SENT_CHUNK_BYTES])
        hang.wait(30)

    call = raw.Send.future(dead_line())
    while coordinator.store.partial_bytes(ref.digest, "mgh") < SENT_CHUNK_BYTES:
        time.sleep(0.01)
    begin = time.monotonic()
    connect(coordinator.port, mgh).send(ref, local)
    elapsed_s = time.monotonic() - begin
    hang.set()

    assert elapsed_s < 5
    assert call.exception() is not None or call.cancelled()
    coordinator.store.verify(ref)


def test_two_sites_move_at_the_same_time(coordinator, federation, connect, mgh, tmp_path):
    down = coordinator.offer(os.urandom(8 * MB), "mgh", "ismd")
    uploads = []

    def take_part(site_id, credentials):
        store = BlobStore(tmp_path / site_id)
        up = store.put_bytes(os.urandom(8 * MB))
        coordinator.expect(up, site_id)
        client = connect(coordinator.port, credentials)
        client.fetch(down, store)
        client.send(up, store)
        uploads.append(up)

    sites = [("mgh", mgh), ("ismd", federation.site_credentials("ismd"))]
    threads = [threading.Thread(target=take_part, args=site) for site in sites]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(uploads) == 2
    for up in uploads:
        coordinator.store.verify(up)


# -- those who must not get in


def test_a_stranger_without_a_certificate_is_refused(coordinator, federation, connect, local):
    ref = coordinator.offer(b"secret", "mgh")
    stranger = connect(
        coordinator.port, enrolment_channel_credentials(root_pem=federation.root_pem), IMPATIENT
    )

    with pytest.raises(TransferError):
        stranger.fetch(ref, local)
    assert not local.has(ref.digest)


def test_a_certificate_of_another_root_with_the_same_site_id_is_refused(
    coordinator, federation, connect, local
):
    ref = coordinator.offer(b"secret", "mgh")
    forged = Federation().site_credentials("mgh", trusting=federation)

    with pytest.raises(TransferError):
        connect(coordinator.port, forged, IMPATIENT).fetch(ref, local)
    assert not local.has(ref.digest)


def test_the_servers_own_certificate_is_no_ticket_for_a_client(coordinator, federation, connect, local):
    ref = coordinator.offer(b"secret", "mgh")
    stolen = mutual_channel_credentials(
        root_pem=federation.root_pem, certificate_pem=federation.chain_pem, key=federation.server_key
    )

    with pytest.raises((TransferError, TrustError)):
        connect(coordinator.port, stolen, IMPATIENT).fetch(ref, local)
    assert not local.has(ref.digest)


def test_a_man_in_the_middle_with_another_root_gets_nothing(connect, mgh, local, tmp_path):
    rogue = Coordinator(Federation(), tmp_path / "rogue")
    ref = local.put_bytes(b"contribution")
    rogue.expect(ref, "mgh")

    with pytest.raises(TrustError, match="certificate"):
        connect(rogue.port, mgh).send(ref, local)
    rogue.server.stop(None).wait(10)

    assert rogue.store.digests() == []


def test_impersonation_of_another_site_is_refused_whether_the_blob_exists_or_not(
    coordinator, federation, connect, local
):
    theirs = coordinator.offer(b"for mgh only", "mgh")
    absent = BlobRef.of(b"no such blob")
    client = connect(coordinator.port, federation.site_credentials("ismd"))

    answers = []
    for ref in (theirs, absent):
        with pytest.raises(TransferError) as caught:
            client.fetch(ref, local)
        answers.append((caught.value.message, caught.value.hint))

    assert answers[0] == answers[1]
    assert local.digests() == []


def test_an_upload_in_the_name_of_another_site_is_refused(coordinator, federation, connect, local):
    ref = local.put_bytes(b"contribution of mgh")
    coordinator.expect(ref, "mgh")

    with pytest.raises(TransferError, match="let"):
        connect(coordinator.port, federation.site_credentials("ismd")).send(ref, local)
    assert coordinator.store.digests() == []


def test_a_revoked_site_is_refused_on_the_connection_it_already_has(coordinator, connect, mgh, local):
    first, second = coordinator.offer(b"first", "mgh"), coordinator.offer(b"second", "mgh")
    up = local.put_bytes(b"up")
    coordinator.expect(up, "mgh")
    client = connect(coordinator.port, mgh)
    client.fetch(first, local)

    coordinator.rules.active.discard("mgh")

    with pytest.raises(TransferError, match="let"):
        client.fetch(second, local)
    with pytest.raises(TransferError, match="let"):
        client.send(up, local)
    assert not local.has(second.digest)
    assert not coordinator.store.has(up.digest)


# -- bytes that must not get in


def test_a_byte_flipped_on_the_senders_disk_is_refused_and_the_coordinator_keeps_its_state(
    coordinator, connect, mgh, local
):
    kept = coordinator.offer(b"kept", "mgh")
    ref = local.put_bytes(os.urandom(2 * MB))
    coordinator.expect(ref, "mgh")
    with local.path(ref.digest).open("r+b") as file:
        file.seek(MB)
        byte = file.read(1)[0]
        file.seek(MB)
        file.write(bytes([byte ^ 1]))

    with pytest.raises(TamperedError):
        connect(coordinator.port, mgh).send(ref, local)

    assert coordinator.store.digests() == [kept.digest]
    assert coordinator.store.partial_bytes(ref.digest, "mgh") == 0


def test_a_byte_flipped_on_the_coordinators_disk_is_refused_and_the_site_keeps_its_state(
    coordinator, connect, mgh, local
):
    kept = local.put_bytes(b"kept")
    ref = coordinator.offer(os.urandom(2 * MB), "mgh")
    path = coordinator.store.path(ref.digest)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    with pytest.raises(TamperedError):
        connect(coordinator.port, mgh).fetch(ref, local)

    assert local.digests() == [kept.digest]


def test_an_unfinished_download_that_a_power_cut_damaged_is_begun_again(coordinator, connect, mgh, local):
    ref = coordinator.offer(os.urandom(2 * MB), "mgh")
    with local.try_partial(ref) as partial:
        partial.append(bytes(MB))

    connect(coordinator.port, mgh).fetch(ref, local)

    local.verify(ref)


def test_rogue_streams_are_refused_and_leave_nothing(coordinator, raw):
    ref, big = BlobRef.of(b"x" * 100), BlobRef.of(bytes(SENT_CHUNK_BYTES + 1))
    coordinator.expect(ref, "mgh")
    coordinator.expect(big, "mgh")
    code = grpc.StatusCode

    assert code_of(raw.Send, parts((ref, 0), b"y" * 100)) is code.DATA_LOSS
    assert code_of(raw.Send, parts((ref, 0), b"x" * 101)) is code.DATA_LOSS
    assert code_of(raw.Send, parts((ref, 0), b"x" * 99)) is code.ABORTED
    assert code_of(raw.Send, parts((ref, 100), b"x" * 100)) is code.OUT_OF_RANGE
    assert code_of(raw.Send, parts((big, 0), bytes(SENT_CHUNK_BYTES + 1))) is code.INVALID_ARGUMENT
    assert code_of(raw.Send, parts((big, 0), bytes(3 * MB))) is code.RESOURCE_EXHAUSTED
    assert code_of(raw.Send, parts(b"no header")) is code.INVALID_ARGUMENT
    assert code_of(raw.Send, iter(())) is code.INVALID_ARGUMENT
    assert code_of(raw.Stat, transfer_pb2.StatRequest(digest="../../x")) is code.INVALID_ARGUMENT
    assert coordinator.store.digests() == []


def test_a_fetch_from_beyond_the_end_or_of_an_odd_digest_is_refused(coordinator, raw):
    ref = coordinator.offer(b"x" * 100, "mgh")

    def fetch(digest, offset, timeout):
        return list(raw.Fetch(transfer_pb2.FetchRequest(digest=digest, offset=offset), timeout=timeout))

    assert code_of(fetch, ref.digest, 101) is grpc.StatusCode.OUT_OF_RANGE
    assert code_of(fetch, ref.digest, 2**64 - 1) is grpc.StatusCode.OUT_OF_RANGE
    assert code_of(fetch, "../" + ref.digest, 0) is grpc.StatusCode.INVALID_ARGUMENT
    assert fetch(ref.digest, 100, 20) == []


def test_a_blob_that_was_removed_is_not_found(coordinator, connect, mgh, local):
    ref = coordinator.offer(b"gone", "mgh")
    coordinator.store.remove(ref.digest)

    with pytest.raises(NotFoundError):
        connect(coordinator.port, mgh).fetch(ref, local)


def test_sending_what_one_does_not_have_is_not_found(coordinator, connect, mgh, local):
    ref = BlobRef.of(b"never put")
    coordinator.expect(ref, "mgh")

    with pytest.raises(NotFoundError):
        connect(coordinator.port, mgh).send(ref, local)


def test_a_full_disk_at_the_coordinator_is_said_so_at_once(coordinator, connect, mgh, local):
    ref = local.put_bytes(os.urandom(MB))
    coordinator.expect(ref, "mgh")
    with disk_that_holds(MB // 2), pytest.raises(TransferError, match="cannot store"):
        connect(coordinator.port, mgh).send(ref, local)

    assert coordinator.store.digests() == []


def test_an_internal_failure_tells_the_caller_no_internals(coordinator, raw, monkeypatch):
    def broken(site_id, digest):
        raise RuntimeError("SELECT name FROM patients")

    monkeypatch.setattr(coordinator.rules, "may_fetch", broken)

    with pytest.raises(grpc.RpcError) as caught:
        list(raw.Fetch(transfer_pb2.FetchRequest(digest="0" * 64)))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INTERNAL, "internal")


def test_it_listens_on_the_address_given_and_no_other(coordinator, federation, tmp_path):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", coordinator.port), timeout=5)
    with pytest.raises(ConfigError):
        Coordinator(federation, tmp_path / "second", coordinator.port)
