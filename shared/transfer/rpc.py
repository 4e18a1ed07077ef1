"""How our gRPC services listen, answer and are reached.

No exception text crosses the wire: a refusal carries a stable word, anything unforeseen the word
`internal`, and the log has the type.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NoReturn

import grpc

from shared.errors import ConfigError, TrustError
from shared.proxy import Proxy
from shared.transfer.open_calls import caller_of, refusals
from shared.trust.certificates import site_id_of
from shared.trust.tls import join_address, split_address

logger = logging.getLogger(__name__)

SENT_CHUNK_BYTES = 256 * 1024
"""Bytes of an upload in one message: measured to need a tenth less CPU time than 1 MiB, and less memory."""

FETCHED_CHUNK_BYTES = 512 * 1024
"""Of a download: with frames that hold it, both sides need an eighth less CPU time than with 256 KiB."""

STORAGE = "storage"
"""Reason word of a server whose disk refuses: trying again does not help."""

REVOKED = "revoked"
"""Reason word for a site whose membership the coordinator has ended: asking again does not help."""

MAX_MESSAGE_BYTES = 1024 * 1024
FRAME_BYTES = MAX_MESSAGE_BYTES
"""Of HTTP/2 in one piece; gRPC's own are of 16 KiB."""

KEEPALIVE_EVERY_S = 20
KEEPALIVE_TIMEOUT_S = 10

_CALLS_PER_THREAD = 64
_COMMON_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.max_frame_size", FRAME_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_EVERY_S * 1000),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_S * 1000),
    ("grpc.http2.max_pings_without_data", 0),
]
_SERVER_OPTIONS = [
    *_COMMON_OPTIONS,
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_EVERY_S * 1000 // 2),
    # Without this a second coordinator could listen on the same port and take half of the calls.
    ("grpc.so_reuseport", 0),
]
_CHANNEL_OPTIONS = [
    *_COMMON_OPTIONS,
    # gRPC's own first wait is 1 s and grows to 120 s; after a break a transfer wants its channel sooner.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
]


_REJECTIONS = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification Check failed")


def rejects_certificate(error: grpc.RpcError) -> bool:
    """Whether this side refused the server's certificate: issuer, host or dates.

    gRPC has no status of its own for it: it is UNAVAILABLE, and only the text tells it from a break.
    """
    details = error.details() or ""
    return any(words in details for words in _REJECTIONS)


class RefusedCallError(Exception):
    """Ends a call with a status and a reason word."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def calling_site(context: grpc.ServicerContext) -> tuple[str, bytes]:
    """The site that a caller's certificate names, and that certificate (PEM).

    The TLS handshake has proved the root and the key.

    Raises
    ------
    RefusedCallError
        There is no certificate, or it names no site.
    """
    try:
        (certificate_pem,) = context.auth_context().get("x509_pem_cert", [])
        return site_id_of(certificate_pem), certificate_pem
    except (ValueError, TrustError) as error:
        raise RefusedCallError(grpc.StatusCode.UNAUTHENTICATED, "certificate") from error


@contextmanager
def answering(context: grpc.ServicerContext) -> Iterator[None]:
    """Turn whatever ends a call early into a status that tells the caller no internals."""
    try:
        yield
    except RefusedCallError as refusal:
        status = (refusal.code, refusal.reason)
        refusals.note(caller_of(context), refusal.reason, now=time.monotonic())
    except grpc.RpcError:
        raise  # the caller is gone; gRPC knows its own errors and says no more
    except Exception as error:
        logger.exception("A call failed with %s", type(error).__name__)
        status = (grpc.StatusCode.INTERNAL, "internal")
    else:
        return
    _abort(context, *status)


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, reason: str) -> NoReturn:
    context.abort(code, reason)
    raise AssertionError("abort returns by raising")


def new_server(*, num_threads: int, interceptors: Sequence[grpc.ServerInterceptor] = ()) -> grpc.Server:
    """A server of the synchronous API; each call, streams included, holds one thread.

    Calls beyond that wait for a thread: hundreds of sites look for offers at about the same time.
    """
    return grpc.server(
        ThreadPoolExecutor(num_threads, thread_name_prefix="rpc"),
        interceptors=interceptors,
        options=_SERVER_OPTIONS,
        maximum_concurrent_rpcs=num_threads * _CALLS_PER_THREAD,
    )


def listen(server: grpc.Server, host: str, port: int, credentials: grpc.ServerCredentials) -> int:
    """Listen on this address only, and start; returns the port, which is the system's choice if 0 was given.

    Raises
    ------
    ConfigError
        The address is not this machine's, or its port is in use.
    """
    try:
        bound: int = server.add_secure_port(join_address(host, port), credentials)
    except RuntimeError as error:
        raise ConfigError(
            "A service cannot listen on its address.",
            "Check that the host is this machine's and that no other program uses the port.",
        ) from error
    server.start()
    return bound


def open_channel(
    address: str, credentials: grpc.ChannelCredentials, proxy: Proxy | None = None
) -> grpc.Channel:
    """A lazy connection to `host:port` that finds a dead peer within 30 s and reconnects within seconds."""
    host, _ = split_address(address)
    through = (
        ("grpc.http_proxy", proxy.url())
        if proxy is not None and proxy.serves(host)
        else ("grpc.enable_http_proxy", 0)
    )
    return grpc.secure_channel(address, credentials, options=[*_CHANNEL_OPTIONS, through])
