"""A recorder between a site and its coordinator: it ends TLS, keeps every byte, and passes it on.

Towards the site it shows a certificate of the federation's root, as only somebody with the coordinator's
root key can; towards the coordinator it shows the site's certificate, as only somebody with its key can.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from client.home import SiteHome

CHUNK_BYTES = 1 << 16
LOOPBACK = "127.0.0.1"
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER_BYTES = 9
DATA_FRAME, HEADERS_FRAME, PADDED = 0, 1, 8


@dataclass(slots=True)
class Conversation:
    """What one connection carried, in the clear."""

    port: int
    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)

    def bodies(self) -> list[bytes]:
        """What the site sent in each HTTP/2 stream without framing (RFC 9113, 4.1); all of HTTP/1.1."""
        return [bytes(self.sent)] if not self._is_http2() else self._by_stream(DATA_FRAME)

    def headers(self) -> list[bytes]:
        """What it sent as HTTP/2 headers, compressed as they are (RFC 7541); none of HTTP/1.1."""
        return [] if not self._is_http2() else self._by_stream(HEADERS_FRAME)

    def _is_http2(self) -> bool:
        return self.sent.startswith(HTTP2_PREFACE)

    def _by_stream(self, wanted: int) -> list[bytes]:
        streams: dict[int, bytearray] = {}
        at = len(HTTP2_PREFACE)
        while at + FRAME_HEADER_BYTES <= len(self.sent):
            length, kind, flags = int.from_bytes(self.sent[at : at + 3]), self.sent[at + 3], self.sent[at + 4]
            stream = int.from_bytes(self.sent[at + 5 : at + FRAME_HEADER_BYTES])
            at += FRAME_HEADER_BYTES
            if kind == wanted:
                frame = self.sent[at : at + length]
                content = frame[1 : length - frame[0]] if flags & PADDED else frame
                streams.setdefault(stream, bytearray()).extend(content)
            at += length
        return [bytes(each) for each in streams.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiretap:
    """What the recorder needs to stand in for both sides.

    Attributes
    ----------
    address, peer
        Where the site reaches the recorder, and from where.
    ports
        Those of the coordinator's public listeners, with the protocol that TLS agrees on (RFC 7301).
    chain_file, key_file
        The recorder's own certificate.
    root_file
        The federation's root.
    site_home, mutual_port
        Where the site's certificate and key stand once it has joined, and the port that asks for them.
    """

    address: str
    peer: str
    ports: dict[int, str]
    chain_file: Path
    key_file: Path
    root_file: Path
    site_home: SiteHome
    mutual_port: int


class Recorder:
    """Records one site's conversations; whoever else calls is passed on untouched."""

    def __init__(self, wiretap: Wiretap) -> None:
        self.conversations: list[Conversation] = []
        self._tap = wiretap
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def listening(self) -> Iterator[Recorder]:
        """Listen on every port until the block is left."""
        loop = asyncio.new_event_loop()
        ready: Future[None] = Future()
        stop = asyncio.Event()
        thread = threading.Thread(
            target=loop.run_until_complete, args=(self._serve(ready, stop),), name="recorder", daemon=True
        )
        thread.start()
        ready.result(10)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()

    async def _serve(self, ready: Future[None], stop: asyncio.Event) -> None:
        listeners: list[socket.socket] = []
        try:
            for port in self._tap.ports:
                listeners.append(socket.create_server((self._tap.address, port)))
                listeners[-1].setblocking(False)
                self._keep(self._accept(listeners[-1], port))
            ready.set_result(None)
            await stop.wait()
        except OSError as error:
            ready.set_exception(error)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for listener in listeners:
                listener.close()

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

    async def _accept(self, listener: socket.socket, port: int) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._tap.chain_file, self._tap.key_file)
        tls.set_alpn_protocols([self._tap.ports[port]])
        while True:
            near, (caller, *_) = await asyncio.get_running_loop().sock_accept(listener)
            if caller == self._tap.peer:
                conversation = Conversation(port)
                self.conversations.append(conversation)
                self._keep(_relay(near, tls, port, self._towards_coordinator(port), conversation))
            else:
                self._keep(_relay(near, None, port, None, Conversation(port)))

    def _towards_coordinator(self, port: int) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._tap.root_file))
        context.set_alpn_protocols([self._tap.ports[port]])
        if port == self._tap.mutual_port:
            certificate_file = self._tap.chain_file.with_name("site.crt")
            certificate_file.write_bytes(self._tap.site_home.membership().certificate_pem)
            context.load_cert_chain(certificate_file, self._tap.site_home.tls_key_file)
        return context


async def _relay(
    near: socket.socket,
    near_tls: ssl.SSLContext | None,
    port: int,
    far_tls: ssl.SSLContext | None,
    conversation: Conversation,
) -> None:
    """Carry one connection to the coordinator and back, until either side ends it."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, near, ssl=near_tls)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, port, ssl=far_tls)
            await asyncio.gather(
                _pump(reader, far_writer, conversation.sent),
                _pump(far_reader, writer, conversation.received),
            )
        finally:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    try:
        while data := await reader.read(CHUNK_BYTES):
            kept += data
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
