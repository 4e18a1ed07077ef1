"""A line between a site and its coordinator that can be cut and closed.

It passes TCP streams on and knows nothing of what is in them.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from client.home import SiteHome

LOOPBACK = "127.0.0.1"
BLOCK_BYTES = 1 << 16
LOOK_S = 0.02


@dataclass(slots=True, kw_only=True)
class Line:
    """One line, with all its ports; changes hold at once, for connections that are open as well.

    Attributes
    ----------
    is_cut
        Nothing passes any more, either way, and nobody is told.
    is_closing
        Whoever connects is let in and dropped at once, as by a load balancer without anything behind it.
    """

    ports: dict[int, int] = field(default_factory=dict)
    is_cut: bool = False
    is_closing: bool = False
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
            try:
                far = socket.create_connection((LOOPBACK, port))
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(BLOCK_BYTES):
                while self.is_cut:
                    time.sleep(LOOK_S)
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


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
