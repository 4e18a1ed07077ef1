"""The blob service's answering side: who may move what, and how an upload goes on where it broke.

Checks of every call, in this order:

1. the caller's certificate names a site (the TLS handshake has proved the root and the key);
2. the site is active, and stays so from chunk to chunk; the certificate is one that it has now;
3. the digest and the size can be a blob's;
4. the authorizer lets this site move this blob.

Each stream holds at most two chunks in memory. `open_calls` keeps a site from holding the
threads of all others.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import grpc

from shared.errors import NotFoundError, StoreError, TamperedError, TransferError
from shared.transfer import transfer_pb2, transfer_pb2_grpc
from shared.transfer.blob_ref import BlobRef, check_digest
from shared.transfer.blob_store import BlobStore
from shared.transfer.open_calls import OpenCalls
from shared.transfer.partial_blob import PartialBlob
from shared.transfer.rpc import (
    FETCHED_CHUNK_BYTES,
    REVOKED,
    SENT_CHUNK_BYTES,
    STORAGE,
    RefusedCallError,
    answering,
    calling_site,
    listen,
    new_server,
)

logger = logging.getLogger(__name__)

_TAKEOVER_S = 5.0
_TAKEOVER_POLL_S = 0.02
_LOOK_EVERY_S = 0.25


class Authorizer(Protocol):
    """Who may move what; asked on every call, from several threads."""

    def is_active(self, site_id: str) -> bool:
        """Whether the site is enrolled and not revoked."""
        ...

    def may_fetch(self, site_id: str, digest: str) -> bool:
        """Whether the site may have this blob."""
        ...

    def may_send(self, site_id: str, digest: str, size_bytes: int) -> bool:
        """Whether a blob of this digest and size is expected of the site."""
        ...


class Witness(Protocol):
    """Is told how far sites are; nothing rests on it."""

    def fetched(self, site_id: str, digest: str) -> None:
        """A site was given all bytes of a blob."""
        ...

    def sending(self, site_id: str) -> None:
        """A site begins to send a blob that it may send."""
        ...


class _Nobody:
    def fetched(self, site_id: str, digest: str) -> None: ...

    def sending(self, site_id: str) -> None: ...


def _any_certificate(_site_id: str, _certificate_pem: bytes) -> bool:
    return True


class TransferService(transfer_pb2_grpc.TransferServicer):
    """Serves one blob store to the sites of a federation.

    Parameters
    ----------
    accepts
        Whether a certificate (PEM) is one that the site has now; where certificates are not renewed, any is.
    witness
        Is told of what was moved.
    """

    def __init__(
        self,
        store: BlobStore,
        authorizer: Authorizer,
        *,
        accepts: Callable[[str, bytes], bool] = _any_certificate,
        witness: Witness | None = None,
    ) -> None:
        self._store = store
        self._authorizer = authorizer
        self._accepts = accepts
        self._witness: Witness = witness or _Nobody()
        self._uploads = _Uploads()

    def is_active(self, site_id: str) -> bool:
        """Whether the site is enrolled and not revoked."""
        return self._authorizer.is_active(site_id)

    def Stat(  # noqa: N802 - named by the protocol
        self, request: transfer_pb2.StatRequest, context: grpc.ServicerContext
    ) -> transfer_pb2.StatReply:
        """How much of the caller's upload has arrived."""
        with answering(context):
            site_id = self._active_site(context)
            ref = self._sendable(site_id, request.digest, request.size_bytes)
            if self._store.has(ref.digest):
                return transfer_pb2.StatReply(have_bytes=ref.size_bytes, complete=True)
            have_bytes = self._store.partial_bytes(ref.digest, site_id)
            return transfer_pb2.StatReply(have_bytes=min(have_bytes, ref.size_bytes))
        raise AssertionError("answering has ended the call")

    def Fetch(  # noqa: N802 - named by the protocol
        self, request: transfer_pb2.FetchRequest, context: grpc.ServicerContext
    ) -> Iterator[transfer_pb2.Chunk]:
        """The blob's bytes from the offset on."""
        with answering(context):
            site_id = self._active_site(context)
            _check_digest(request.digest)
            if not self._authorizer.may_fetch(site_id, request.digest):
                raise _refused()
            yield from self._chunks(request.digest, request.offset, self._membership(site_id))
            self._witness.fetched(site_id, request.digest)

    def _chunks(self, digest: str, offset: int, membership: _Membership) -> Iterator[transfer_pb2.Chunk]:
        try:
            if offset > self._store.size(digest):
                raise RefusedCallError(grpc.StatusCode.OUT_OF_RANGE, "offset")
            with self._store.open(digest) as file:
                file.seek(offset)
                while data := file.read(FETCHED_CHUNK_BYTES):
                    membership.require()
                    yield transfer_pb2.Chunk(data=data)
        except NotFoundError as error:
            raise RefusedCallError(grpc.StatusCode.NOT_FOUND, "unknown-blob") from error

    def Send(  # noqa: N802 - named by the protocol
        self, request_iterator: Iterator[transfer_pb2.SendPart], context: grpc.ServicerContext
    ) -> transfer_pb2.SendReceipt:
        """Take a blob, whole or the rest of it."""
        with answering(context):
            site_id = self._active_site(context)
            header = next(request_iterator, transfer_pb2.SendPart()).header
            ref = self._sendable(site_id, header.digest, header.size_bytes)
            self._witness.sending(site_id)
            with self._uploads.newest(site_id, ref.digest, context):
                if not self._store.has(ref.digest):
                    self._receive(ref, site_id, header.offset, request_iterator, context)
            logger.info("Site %s sent a blob of %d bytes", site_id, ref.size_bytes)
            return transfer_pb2.SendReceipt(digest=ref.digest, size_bytes=ref.size_bytes)
        raise AssertionError("answering has ended the call")

    def _receive(
        self,
        ref: BlobRef,
        site_id: str,
        offset: int,
        parts: Iterator[transfer_pb2.SendPart],
        context: grpc.ServicerContext,
    ) -> None:
        membership = self._membership(site_id)
        try:
            with self._take_over(ref, site_id, context) as partial:
                if offset > partial.have_bytes:
                    raise RefusedCallError(grpc.StatusCode.OUT_OF_RANGE, "offset")
                if offset < partial.have_bytes:
                    partial.truncate(offset)
                for part in parts:
                    membership.require()
                    if len(part.data) > SENT_CHUNK_BYTES:
                        raise RefusedCallError(grpc.StatusCode.INVALID_ARGUMENT, "chunk")
                    partial.append(part.data)
                if partial.have_bytes < ref.size_bytes:
                    raise RefusedCallError(grpc.StatusCode.ABORTED, "incomplete")
                partial.finish()
        except TamperedError as error:
            logger.warning("Site %s sent bytes that are not the blob it announced", site_id)
            raise RefusedCallError(grpc.StatusCode.DATA_LOSS, "digest") from error
        except StoreError as error:
            logger.exception("The store refused a blob of site %s", site_id)
            raise RefusedCallError(grpc.StatusCode.RESOURCE_EXHAUSTED, STORAGE) from error

    def _take_over(self, ref: BlobRef, site_id: str, context: grpc.ServicerContext) -> PartialBlob:
        """The site's unfinished blob, once the broken call that still holds it has let go."""
        deadline = time.monotonic() + _TAKEOVER_S
        while (partial := self._store.try_partial(ref, site_id)) is None:
            if time.monotonic() > deadline or not context.is_active():
                raise RefusedCallError(grpc.StatusCode.ABORTED, "busy")
            time.sleep(_TAKEOVER_POLL_S)
        return partial

    def _active_site(self, context: grpc.ServicerContext) -> str:
        # 1.
        site_id, certificate_pem = calling_site(context)
        # 2.
        self._membership(site_id).require()
        if not self._accepts(site_id, certificate_pem):
            raise RefusedCallError(grpc.StatusCode.UNAUTHENTICATED, "certificate")
        return site_id

    def _membership(self, site_id: str) -> _Membership:
        return _Membership(lambda: self._authorizer.is_active(site_id))

    def _sendable(self, site_id: str, digest: str, size_bytes: int) -> BlobRef:
        # 3.
        _check_digest(digest)
        ref = BlobRef(digest=digest, size_bytes=size_bytes)
        # 4.
        if not self._authorizer.may_send(site_id, digest, size_bytes):
            raise _refused()
        return ref


class _Membership:
    """A site's membership during one call, looked up at most every `_LOOK_EVERY_S`."""

    def __init__(self, is_active: Callable[[], bool]) -> None:
        self._is_active = is_active
        self._looked_at = -math.inf

    def require(self) -> None:
        """Return only if the site has not been revoked meanwhile."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        if not self._is_active():
            raise RefusedCallError(grpc.StatusCode.PERMISSION_DENIED, REVOKED)
        self._looked_at = now


class _Uploads:
    """One upload per site and digest: the newest call ends the one before it, whose line has broken.

    Without this a site whose connection died would wait for the server's keepalive to notice.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: dict[tuple[str, str], grpc.ServicerContext] = {}

    @contextmanager
    def newest(self, site_id: str, digest: str, context: grpc.ServicerContext) -> Iterator[None]:
        key = (site_id, digest)
        with self._lock:
            before = self._current.get(key)
            self._current[key] = context
        if before is not None:
            before.cancel()
        try:
            yield
        finally:
            with self._lock:
                if self._current.get(key) is context:
                    del self._current[key]


def serve_blobs(
    service: TransferService,
    *,
    host: str,
    port: int,
    credentials: grpc.ServerCredentials,
    num_threads: int,
    add_others: Callable[[grpc.Server], None] = lambda _server: None,
) -> tuple[grpc.Server, int]:
    """Listen on one address; returns the server, which its caller stops, and its port.

    Parameters
    ----------
    credentials
        Of `mutual_server_credentials`: any other kind leaves every call unauthenticated.
    num_threads
        Calls at one time; more are asked to try again.
    add_others
        Adds services to the same listener before it listens.

    Raises
    ------
    ConfigError
        The address cannot be listened on.
    """
    calls = OpenCalls(is_active=service.is_active, num_threads=num_threads)
    server = new_server(num_threads=num_threads, interceptors=[calls])
    transfer_pb2_grpc.add_TransferServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    add_others(server)
    return server, listen(server, host, port, credentials)


def _check_digest(digest: str) -> None:
    try:
        check_digest(digest)
    except TransferError as error:
        raise RefusedCallError(grpc.StatusCode.INVALID_ARGUMENT, "digest") from error


def _refused() -> RefusedCallError:
    return RefusedCallError(grpc.StatusCode.PERMISSION_DENIED, "refused")
