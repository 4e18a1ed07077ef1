"""The blob service's asking side: fetch and send, whole or not at all, resumed after each break."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import FileIO

import grpc

from shared.errors import TamperedError
from shared.transfer import transfer_pb2, transfer_pb2_grpc
from shared.transfer.appending import Appending
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore
from shared.transfer.partial_blob import PartialBlob
from shared.transfer.patience import Patience, RetryPolicy
from shared.transfer.rpc import SENT_CHUNK_BYTES

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all, both of the whole blob; from a thread of its own in `send`."""

_STAT_TIMEOUT_S = 30.0
_BUSY_PAUSE_S = 0.1


def _no_progress(_bytes_done: int, _bytes_total: int) -> None:
    pass


def _never() -> bool:
    return False


class BlobClient:
    """Moves blobs over a channel, which stays its caller's to close.

    Parameters
    ----------
    channel
        Of `open_channel` with mutual TLS.
    """

    def __init__(self, channel: grpc.Channel, policy: RetryPolicy | None = None) -> None:
        self._stub = transfer_pb2_grpc.TransferStub(channel)  # type: ignore[no-untyped-call]
        self._policy = policy or RetryPolicy()

    def fetch(
        self,
        ref: BlobRef,
        store: BlobStore,
        *,
        progress: Progress = _no_progress,
        should_stop: Callable[[], bool] = _never,
    ) -> None:
        """Bring a blob into the store; done at once if it is there.

        Parameters
        ----------
        should_stop
            Asked about ten times a second, also from another thread; True ends the transfer soon.

        Raises
        ------
        TransferError
            Not allowed, no connection within the policy's patience, or stopped.
        NotFoundError
            The coordinator does not have it.
        TrustError
            A certificate is not accepted.
        TamperedError
            The bytes are not the ones that the digest names, twice over; the store is as before.
        StoreError
            This side's disk refuses.
        """
        patience = Patience(self._policy, should_stop)
        spoiled = False
        while not store.has(ref.digest):
            partial = store.try_partial(ref)
            if partial is None:  # another process of this side is at it
                patience.pause(_BUSY_PAUSE_S)
                continue
            with partial:
                try:
                    self._fetch_rest(partial, patience, progress)
                except grpc.RpcError as error:
                    patience.check_stop()
                    patience.wait_after(error)
                except TamperedError:
                    # Once may be an unfinished file that a power cut has damaged: begin again.
                    if spoiled:
                        raise
                    spoiled = True
        progress(ref.size_bytes, ref.size_bytes)

    def _fetch_rest(self, partial: PartialBlob, patience: Patience, progress: Progress) -> None:
        total = partial.ref.size_bytes
        if partial.have_bytes < total:
            request = transfer_pb2.FetchRequest(digest=partial.ref.digest, offset=partial.have_bytes)
            call = self._stub.Fetch(request)
            done = partial.have_bytes
            with patience.cancelling(call), Appending(partial) as appending:
                for chunk in call:
                    appending.append(chunk.data)
                    patience.renew()
                    done += len(chunk.data)
                    progress(done, total)
        partial.finish()

    def send(
        self,
        ref: BlobRef,
        store: BlobStore,
        *,
        progress: Progress = _no_progress,
        should_stop: Callable[[], bool] = _never,
    ) -> None:
        """Bring a blob of the store to the coordinator; done at once if it is there.

        Raises
        ------
        NotFoundError
            The blob is not in the store.
        TamperedError
            The blob on this side's disk is damaged.
        TransferError, TrustError, StoreError
            As for `fetch`.
        """
        patience = Patience(self._policy, should_stop)
        most_bytes = 0
        while True:
            try:
                have_bytes = self._have_bytes(ref, patience)
                if have_bytes is None:
                    break
                if have_bytes > most_bytes:
                    most_bytes = have_bytes
                    patience.renew()
                self._send_rest(ref, store.open(ref.digest), have_bytes, patience, progress)
                break
            except grpc.FutureCancelledError as error:
                patience.check_stop()
                patience.spend(error)
            except grpc.RpcError as error:
                patience.check_stop()
                if error.code() is grpc.StatusCode.DATA_LOSS:
                    store.verify(ref)
                patience.wait_after(error)
        progress(ref.size_bytes, ref.size_bytes)

    def _have_bytes(self, ref: BlobRef, patience: Patience) -> int | None:
        """How much has arrived; None if all, and verified."""
        request = transfer_pb2.StatRequest(digest=ref.digest, size_bytes=ref.size_bytes)
        call = self._stub.Stat.future(request, timeout=_STAT_TIMEOUT_S)
        with patience.cancelling(call):
            reply = call.result()
        return None if reply.complete else int(reply.have_bytes)

    def _send_rest(
        self, ref: BlobRef, file: FileIO, offset: int, patience: Patience, progress: Progress
    ) -> None:
        call = self._stub.Send.future(_parts(ref, file, offset, progress))
        with patience.cancelling(call):
            call.result()


def _parts(ref: BlobRef, file: FileIO, offset: int, progress: Progress) -> Iterator[transfer_pb2.SendPart]:
    """The request stream of one attempt; it owns the file, since gRPC may read on in its own thread."""
    with file:
        header = transfer_pb2.SendHeader(digest=ref.digest, size_bytes=ref.size_bytes, offset=offset)
        yield transfer_pb2.SendPart(header=header)
        file.seek(offset)
        done = offset
        while data := file.read(SENT_CHUNK_BYTES):
            yield transfer_pb2.SendPart(data=data)
            done += len(data)
            progress(done, ref.size_bytes)
