"""Flower's SuperLink in a process of ours, with its three APIs apart.

The stock program serves Fleet, Control and Runtime on one port to whoever reaches it. Here

1. the public listener answers Fleet paths and health alone; a node must sign with a registered key;
2. the private listener on loopback answers everything; Control needs our bearer token, Runtime our secret;
3. no server code is started by Flower: `server.flower.runner` takes the tasks;
4. a node that comes back with its own key takes over at once, instead of being refused until the
   heartbeats of its former process have run out;
5. the times that nodes sign are held against this machine's clock (`server.flower.witnesses`).

State is in memory: it is rebuilt from the table of sites at each start. These hooks are internal to Flower
1.41; `tests/integration/test_flower_contract.py` holds them.
"""

from __future__ import annotations

import hmac
import logging
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from flwr.common.constant import (
    ACCESS_TOKEN_KEY,
    ISOLATION_MODE_PROCESS,
    NOOP_ACCOUNT_NAME,
    NOOP_FLWR_AID,
    TRANSPORT_TYPE_GRPC_RERE,
)
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.auth import load_superexec_auth_secret
from flwr.supercore.auth.typing import AccountInfo
from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME
from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.main import create_app
from starlette.types import ASGIApp, Receive, Scope, Send

from server.clock import Clock
from server.flower.control import Control
from server.flower.witnesses import Witnesses, judge_by, listen_to
from server.home import LOOPBACK, CoordinatorHome
from server.store import AuditLog, open_coordinator_store
from shared.supervision import Pulse, follow_supervisor

PROBE_EVERY_S = 2.0
DEAF_AFTER_S = 30.0
KEEP_ALIVE_S = 75
"""A node that waits asks and tells that it lives over the line that it has; each new one is a handshake."""


class TokenPlugin(NoOpControlAuthnPlugin):
    """Lets a Control request pass only with our token."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    def validate_tokens_in_metadata(
        self, metadata: Sequence[tuple[str, str | bytes]]
    ) -> tuple[bool, AccountInfo | None]:
        """Compare the request's bearer token with ours."""
        presented = str(dict(metadata).get(ACCESS_TOKEN_KEY, ""))
        if hmac.compare_digest(presented.encode(), self._token.encode()):
            return True, AccountInfo(flwr_aid=NOOP_FLWR_AID, account_name=NOOP_ACCOUNT_NAME)
        return False, None

    def refresh_tokens(self, metadata: Sequence[tuple[str, str | bytes]]) -> tuple[None, None]:
        """There is nothing to refresh."""
        return None, None


class FleetOnly:
    """The public face of the SuperLink: Fleet paths and health; anything else does not exist."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a Fleet request on, answer 404 to any other."""
        if scope["type"] == "http" and (scope["path"].startswith("/v1/fleet/") or scope["path"] == "/health"):
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether a line belongs into Flower's log: not the question that `server.nodes` asks every second."""
    return record.getMessage() != "ControlServicer.ListNodes"


def let_nodes_return(state: LinkState) -> None:
    """Let a node that activates again, signed by its own key, replace its former process."""
    activate = state.activate_node

    def activate_again(node_id: int, heartbeat_interval: float) -> bool:
        state.deactivate_node(node_id)
        return bool(activate(node_id, heartbeat_interval))

    vars(state)["activate_node"] = activate_again


def make_app(home: CoordinatorHome) -> FastAPI:
    """Flower's application with our token and secret, and with its state in memory."""
    settings = home.settings()
    config = SuperLinkLifespanConfig(
        control_address=LOOPBACK,
        health_server_address=None,
        host=LOOPBACK,
        port=settings.control_port,
        insecure=False,
        certificates=(
            home.root_certificate_file.read_bytes(),
            home.tls_chain_file.read_bytes(),
            home.tls_key_file.read_bytes(),
        ),
        superexec_auth_secret=load_superexec_auth_secret(secret_file=str(home.runtime_secret_file)),
        authn_plugin=TokenPlugin(home.control_token_file.read_text().strip()),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=str(home.root_certificate_file),
        ssl_certfile=str(home.tls_chain_file),
        ssl_keyfile=str(home.tls_key_file),
        database=FLWR_IN_MEMORY_DB_NAME,
        isolation=ISOLATION_MODE_PROCESS,
        runtime_dependency_install=False,
    )
    app = create_app(config, SuperLinkLifespan)
    let_nodes_return(app.state.linkstate_factory.state())
    return app


def listen_to_itself(home: CoordinatorHome, pulse: Pulse) -> None:
    """Let the pulse go on, in the background, for as long as the private listener answers."""
    control = Control(home)

    def probe() -> None:
        while True:
            if control.is_up():
                pulse.expect(DEAF_AFTER_S)
            time.sleep(PROBE_EVERY_S)

    threading.Thread(target=probe, name="probe", daemon=True).start()


def serve(home: CoordinatorHome, pulse: Pulse) -> None:
    """Serve until told to stop."""
    settings = home.settings()
    listen_to_itself(home, pulse)
    logging.getLogger("flwr").addFilter(is_worth_a_line)
    witnesses = Witnesses()
    listen_to(witnesses)
    judge_by(witnesses, Clock(AuditLog(open_coordinator_store(home.folder, home.database(settings)))))
    app = make_app(home)
    private = _listener(app, LOOPBACK, settings.control_port, home, lifespan="on")
    public = _listener(FleetOnly(app), settings.listen, settings.fleet_port, home, lifespan="off")
    threading.Thread(target=public.run, name="fleet", daemon=True).start()
    private.run()


def _listener(app: Any, host: str, port: int, home: CoordinatorHome, *, lifespan: Any) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        lifespan=lifespan,
        access_log=False,
        log_level="warning",
        ssl_keyfile=str(home.tls_key_file),
        ssl_certfile=str(home.tls_chain_file),
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    config.load()
    assert config.ssl is not None  # a key and a certificate were given
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    return uvicorn.Server(config)


if __name__ == "__main__":
    follow_supervisor()
    own_pulse = Pulse()
    own_pulse.start()
    serve(CoordinatorHome(Path(sys.argv[1])), own_pulse)
