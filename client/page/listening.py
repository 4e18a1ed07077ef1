"""The page's listener, in a thread of the running site."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import uvicorn

from client.home import LOOPBACK, SiteHome
from client.page.app import make_app
from client.page.links import open_for_links

MOST_AT_ONCE = 32
KEEP_ALIVE_S = 5


@contextlib.contextmanager
def listening(home: SiteHome) -> Iterator[int]:
    """Serve the page on a port of loopback, which the system chooses, until the block is left; its number."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()  # from now on whoever comes early waits, and is not refused
        port = int(listener.getsockname()[1])
        open_for_links(home, port)
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(home),
                access_log=False,
                log_config=None,
                log_level="warning",
                limit_concurrency=MOST_AT_ONCE,
                timeout_keep_alive=KEEP_ALIVE_S,
                lifespan="off",
                ws="none",
                server_header=False,
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="page", daemon=True)
        thread.start()
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(KEEP_ALIVE_S)
