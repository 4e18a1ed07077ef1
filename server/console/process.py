"""The process that serves the console, kept alive by the coordinator's."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from server.console.app import make_app
from server.coordinator import Coordinator
from server.flower.control import Control
from server.home import CoordinatorHome
from shared.supervision import BEAT_EVERY_S, SILENT_AFTER_S, Pulse, follow_supervisor
from shared.terminal import log_to_standard_error

MOST_AT_ONCE = 256
KEEP_ALIVE_S = 5
GRACE_S = 2


def serve(home: CoordinatorHome, pulse: Pulse) -> None:
    """Serve until told to stop.

    Raises
    ------
    HomeError, StoreError, TrustError
        See `Coordinator.open`.
    """
    settings, coordinator = home.settings(), Coordinator.open(home)
    assert settings.console_port is not None  # else nobody starts this process

    @contextlib.asynccontextmanager
    async def alive(_app: Starlette) -> AsyncIterator[None]:
        async def beat() -> None:
            while True:
                pulse.expect(SILENT_AFTER_S)
                await asyncio.sleep(BEAT_EVERY_S)

        beating = asyncio.create_task(beat())
        yield
        beating.cancel()

    config = uvicorn.Config(
        make_app(
            home,
            coordinator,
            control=Control(home),
            lifespan=alive,
            single_sign_on=settings.single_sign_on,
        ),
        host=settings.console_listen,
        port=settings.console_port,
        ssl_keyfile=str(home.tls_key_file),
        ssl_certfile=str(home.tls_chain_file),
        access_log=False,
        log_config=None,
        log_level="warning",
        limit_concurrency=MOST_AT_ONCE,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        lifespan="on",
        ws="none",
        server_header=False,
        proxy_headers=False,
    )
    config.load()
    assert config.ssl is not None  # a key and a certificate were given
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    uvicorn.Server(config).run()


if __name__ == "__main__":
    log_to_standard_error()
    follow_supervisor()
    own_pulse = Pulse()
    own_pulse.start()
    serve(CoordinatorHome(Path(sys.argv[1])), own_pulse)
