"""A line between a site and its coordinator that can be cut, closed, slowed down, and answer in its place.

It passes TCP streams on and knows nothing of what is in them, but for the answers of `answer_once`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from client.home import SiteHome
from server.home import CoordinatorHome

LOOPBACK = "127.0.0.1"
BLOCK_BYTES = 1 << 16
LOOK_S = 0.02
BURST_BYTES = 1 << 14


class Way(Enum):
    """Where bytes go."""

    UP = auto()
    DOWN = auto()


@dataclass(slots=True, kw_only=True)
class Line:
    """One line, with all its ports; changes hold at once, for connections that are open as well.

    Attributes
    ----------
    is_cut
        Nothing passes any more, either way, and nobody is told.
    is_closing
        Whoever connects is let in and dropped at once, as by a load balancer without anything behind it.
    bytes_per_s
        What passes at most, each way; None is no limit.
    passed_bytes
        What has passed so far, by port of the coordinator and by way.
    """

    ports: dict[int, int] = field(default_factory=dict)
    is_cut: bool = False
    is_closing: bool = False
    bytes_per_s: float | None = None
    passed_bytes: Counter[tuple[int, Way]] = field(default_factory=Counter)
    _answers: dict[int, tuple[int, ssl.SSLContext]] = field(default_factory=dict)
    _free_at: dict[Way, float] = field(default_factory=lambda: dict.fromkeys(Way, 0.0))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _listeners: list[socket.socket] = field(default_factory=list)
    _open: list[socket.socket] = field(default_factory=list)

    def add(self, port: int) -> int:
        """Lead to a port of the coordinator; returns the port to connect to."""
        listener = socket.create_server((LOOPBACK, 0))
        self._listeners.append(listener)
        self.ports[port] = listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener, port), daemon=True).start()
        return self.ports[port]

    def mend(self) -> None:
        """Let everything pass again."""
        self.is_cut = self.is_closing = False
        self.bytes_per_s = None

    def answer_once(self, port: int, status: int, coordinator: CoordinatorHome) -> None:
        """Answer the next request at a port for HTTPS with this status, under the coordinator's own key."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(coordinator.tls_chain_file, coordinator.tls_key_file)
        self._answers[port] = status, tls
        self.drop_all()

    def has_answered(self, port: int) -> bool:
        """Whether no answer is left to give."""
        return port not in self._answers

    def close(self) -> None:
        """End the line."""
        for one in (*self._listeners, *self._open):
            with contextlib.suppress(OSError):
                one.close()

    def drop_all(self) -> None:
        """Break every open connection."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            if self.is_closing:
                near.close()
                continue
            if port in self._answers:
                threading.Thread(target=self._answer, args=(near, port), daemon=True).start()
                continue
            try:
                far = socket.create_connection((LOOPBACK, port))
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            for source, target, way in ((near, far, Way.UP), (far, near, Way.DOWN)):
                threading.Thread(target=self._pass_on, args=(source, target, port, way), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, port: int, way: Way) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(BLOCK_BYTES if self.bytes_per_s is None else BURST_BYTES):
                time.sleep(self._wait_s(len(data), way))
                while self.is_cut:
                    time.sleep(LOOK_S)
                target.sendall(data)
                with self._lock:
                    self.passed_bytes[port, way] += len(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _wait_s(self, num_bytes: int, way: Way) -> float:
        """How long these bytes wait for those before them, of all connections, at the rate of now."""
        if self.bytes_per_s is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._free_at[way] = max(now, self._free_at[way]) + num_bytes / self.bytes_per_s
            return self._free_at[way] - now

    def _answer(self, near: socket.socket, port: int) -> None:
        with contextlib.suppress(OSError):  # whoever does not finish its handshake or its request gets none
            status, tls = self._answers[port]
            with tls.wrap_socket(near, server_side=True) as caller:
                request = b""
                while not _is_whole(request) and (data := caller.recv(BLOCK_BYTES)):
                    request += data
                if self._answers.pop(port, None):
                    caller.sendall(f"HTTP/1.1 {status} Played\r\nContent-Length: 0\r\n\r\n".encode())


def _is_whole(request: bytes) -> bool:
    """Whether a request of HTTP/1.1 is there with its body."""
    head, end, body = request.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end) and len(body) >= sum(int(line.partition(b":")[2]) for line in lengths)


@contextlib.contextmanager
def line_of(homes: Sequence[SiteHome]) -> Iterator[Line]:
    """Lead sites that have joined, and do not run, over one line for as long as the block lasts."""
    line = Line()
    before = {home: home.membership_file.read_bytes() for home in homes}
    try:
        for home, content in before.items():
            document = json.loads(content)
            for name in ("fleet_address", "transfer_address"):
                host, _, port = document[name].rpartition(":")
                near = line.ports.get(int(port)) or line.add(int(port))
                document[name] = f"{host}:{near}"
            home.membership_file.write_text(json.dumps(document))
        yield line
    finally:
        for home, content in before.items():
            home.membership_file.write_bytes(content)
        line.close()
