"""A member that holds calls open is cut off, and the others neither wait nor notice; over real TLS."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from client.consenting import Consenting
from client.home import SiteHome
from client.renewal import rotate_keys
from shared.consent import consent_pb2
from shared.transfer import open_calls, transfer_pb2, transfer_pb2_grpc
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore
from shared.transfer.client import BlobClient
from shared.transfer.patience import RetryPolicy
from shared.transfer.refusals import Refusals
from shared.transfer.rpc import SENT_CHUNK_BYTES
from tests.integration.member_coordinator import MemberCoordinator, channel_of

ALL_THREADS = 12
SOON_S = 10.0


@pytest.fixture
def rogue(members: MemberCoordinator, tmp_path: Path) -> SiteHome:
    return members.member(tmp_path / "rogue", "rogue")


@pytest.fixture
def silence() -> Iterator[Callable[..., Iterator[Any]]]:
    """A request that begins as given and never goes on."""
    over = threading.Event()

    def silent(*first: Any) -> Iterator[Any]:
        yield from first
        over.wait(60)

    yield silent
    over.set()


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def header(ref: BlobRef) -> transfer_pb2.SendPart:
    return transfer_pb2.SendPart(
        header=transfer_pb2.SendHeader(digest=ref.digest, size_bytes=ref.size_bytes, offset=0)
    )


TRANSFER = transfer_pb2.DESCRIPTOR.services_by_name["Transfer"].full_name
CONSENT = consent_pb2.DESCRIPTOR.services_by_name["Consent"].full_name


@pytest.mark.parametrize("method", [f"/{TRANSFER}/Send", f"/{TRANSFER}/Stat", f"/{CONSENT}/Offers"])
def test_a_member_that_holds_every_call_does_not_keep_the_others_out(
    method: str, members: MemberCoordinator, rogue: SiteHome, tmp_path: Path, silence: Callable[..., Any]
) -> None:
    honest = members.member(tmp_path / "aarhus")
    content = b"update" * SENT_CHUNK_BYTES
    with channel_of(rogue) as channel, channel_of(honest) as line:
        # As a stream, whatever it is: so it can be begun without a request.
        call = channel.stream_unary(method)
        calls = [call.future(silence()) for _ in range(ALL_THREADS)]
        wait_for(lambda: sum(each.done() for each in calls) >= ALL_THREADS - open_calls.MAX_PER_SITE)
        assert not all(each.done() for each in calls)

        begin = time.monotonic()
        with Consenting(honest) as consenting:
            consenting.tend()
        rotate_keys(honest, actor="local:it")
        store = BlobStore(tmp_path / "blobs")
        ref = store.put_bytes(content)
        policy = RetryPolicy(patience_s=5, first_delay_s=0.05, max_delay_s=0.2)
        BlobClient(line, policy).send(ref, store)
        assert time.monotonic() - begin < 5

    members.coordinator.blobs.verify(ref)


def test_revoking_a_member_ends_the_calls_that_it_holds_in_silence(
    members: MemberCoordinator, rogue: SiteHome, silence: Callable[..., Any]
) -> None:
    ref = BlobRef.of(b"x" * 2 * SENT_CHUNK_BYTES)
    with channel_of(rogue) as channel:
        stub = transfer_pb2_grpc.TransferStub(channel)  # type: ignore[no-untyped-call]
        begun = transfer_pb2.SendPart(data=b"x" * SENT_CHUNK_BYTES)
        calls = [stub.Send.future(silence()), stub.Send.future(silence(header(ref), begun))]
        wait_for(
            lambda: members.coordinator.blobs.partial_bytes(ref.digest, "site-rogue") == SENT_CHUNK_BYTES
        )

        members.revoke("rogue")

        wait_for(lambda: all(call.done() for call in calls))
    assert not members.coordinator.blobs.has(ref.digest)


@pytest.mark.parametrize("begins", [False, True])
def test_a_call_that_stands_still_is_cut_off(
    begins: bool,
    members: MemberCoordinator,
    rogue: SiteHome,
    silence: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(open_calls, "NEXT_MESSAGE_S" if begins else "FIRST_MESSAGE_S", 0.5)
    monkeypatch.setattr(open_calls, "refusals", Refusals())
    ref = BlobRef.of(b"x" * 2 * SENT_CHUNK_BYTES)
    with channel_of(rogue) as channel, caplog.at_level(logging.WARNING):
        stub = transfer_pb2_grpc.TransferStub(channel)  # type: ignore[no-untyped-call]
        call = stub.Send.future(silence(header(ref)) if begins else silence())
        wait_for(call.done)

    assert "A call of site-rogue was refused: it stood still" in caplog.messages


def test_a_member_that_takes_nothing_of_what_it_fetches_is_cut_off(
    members: MemberCoordinator, rogue: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_calls, "NEXT_MESSAGE_S", 0.5)
    # More than the buffers between the two ever take: a call whose last part has gone holds nothing.
    ref = members.coordinator.blobs.put_bytes(b"x" * 512 * SENT_CHUNK_BYTES)
    with channel_of(rogue) as channel:
        stub = transfer_pb2_grpc.TransferStub(channel)  # type: ignore[no-untyped-call]
        pieces = stub.Fetch(transfer_pb2.FetchRequest(digest=ref.digest, offset=0))
        next(pieces)
        time.sleep(3)
        with pytest.raises(grpc.RpcError) as ended:
            list(pieces)
    assert ended.value.code() is grpc.StatusCode.CANCELLED


def test_a_caller_that_knocks_all_the_time_gets_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    with caplog.at_level(logging.WARNING):
        for second in range(150):
            refusals.note("site-rogue", "revoked", now=float(second))
        refusals.note("site-other", "revoked", now=149.0)

    assert caplog.messages == [
        "A call of site-rogue was refused: revoked",
        "A call of site-rogue was refused: revoked, and 59 more before it",
        "A call of site-rogue was refused: revoked, and 59 more before it",
        "A call of site-other was refused: revoked",
    ]


def test_a_revoked_member_that_goes_on_calling_is_written_down(
    members: MemberCoordinator,
    rogue: SiteHome,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.transfer.rpc.refusals", Refusals())
    members.revoke("rogue")
    with channel_of(rogue) as channel, caplog.at_level(logging.WARNING):
        stub = transfer_pb2_grpc.TransferStub(channel)  # type: ignore[no-untyped-call]
        for _ in range(3):
            with pytest.raises(grpc.RpcError):
                stub.Stat(transfer_pb2.StatRequest(digest="a" * 64, size_bytes=1), timeout=SOON_S)

    assert caplog.messages.count("A call of site-rogue was refused: revoked") == 1
