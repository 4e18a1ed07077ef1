"""Flower's SuperNode in a process of ours: outbound only, no code of a bundle, and quick.

The stock program differs in that

1. it sleeps 3 s when there is no message, and 0.5 s while one is worked on; here `client.flower.pace` says
   how long;
2. it waits 1 s and more for parts of a message that are still arriving; here `shared.flower.pulls` says how
   long;
3. its heartbeats are 30 s apart, so that it takes a minute to miss its executor; here `client.flower.pace`
   sets them;
4. after a break it waits for up to half a minute before it tries again, here for a few seconds; and it gives
   up at once after an answer of status 500, here not;
5. when its loop or its heartbeats have ended on an error the process lives on, offline for good; here the
   process ends, and the supervisor starts it again, as it does with one that stands still.

These hooks are internal to Flower 1.41; `tests/integration/test_flower_contract.py` holds them.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
from pathlib import Path

import flwr.supercore.corestate.in_memory_corestate as flower_tasks
import flwr.supercore.heartbeat as flower_heartbeat
import flwr.supernode.fleet_http_connection as flower_connection
import flwr.supernode.start_client_internal as flower_node
import uvicorn
from flwr.common.constant import ISOLATION_MODE_PROCESS
from flwr.supercore.auth import load_superexec_auth_secret
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supernode.main import create_app
from flwr.supernode.nodestate import NodeStateFactory

from client.flower.pace import (
    NODE_HEARTBEAT_S,
    FatalHeartbeats,
    NodeClock,
    fleet_client_through,
    quicken,
    try_again,
)
from client.home import LOOPBACK, SiteHome
from shared.flower.pulls import pull_soon
from shared.proxy import Proxy
from shared.supervision import Pulse, follow_supervisor
from shared.trust.keys import NodeKey

log = logging.getLogger(__name__)

FOLLOW_S = 1.0


def hasten(proxy: Proxy | None = None) -> None:
    """Shorten Flower's pauses in this process, and let its node go through a proxy."""
    vars(flower_node)["time"] = NodeClock()
    pull_soon(flower_node, "pull_objects")
    quicken(flower_heartbeat, flower_tasks)
    quicken(flower_connection, interval_s=NODE_HEARTBEAT_S)
    try_again()
    vars(flower_connection).update(
        FleetHttpClient=fleet_client_through(proxy), HeartbeatSender=FatalHeartbeats
    )


def serve(home: SiteHome, runtime_port: int) -> None:
    """Connect to the coordinator and serve tasks on loopback; returns when the connection's loop ends."""
    membership = home.membership()
    node_key = NodeKey.load(home.keys(membership.key_generation).node)
    private_key = node_key.private
    threading.Thread(
        target=_end_with_node_key, args=(home, membership.key_generation, node_key), daemon=True
    ).start()
    states = NodeStateFactory(objectstore_factory=ObjectStoreFactory())
    secret = load_superexec_auth_secret(secret_file=str(home.runtime_secret_file))
    runtime = uvicorn.Server(
        uvicorn.Config(
            create_app(state_factory=states, superexec_auth_secret=secret),
            host=LOOPBACK,
            port=runtime_port,
            access_log=False,
            log_level="warning",
        )
    )
    threading.Thread(target=runtime.run, name="runtime", daemon=True).start()
    flower_node.start_client_internal(
        state_factory=states,
        server_address=membership.fleet_address,
        node_config={},
        root_certificates=membership.anchors.bundle_pem,
        insecure=False,
        authentication_keys=(private_key, private_key.public_key()),
        isolation=ISOLATION_MODE_PROCESS,
        runtime_api_address=f"{LOOPBACK}:{runtime_port}",
        superexec_auth_secret=secret,
        runtime_dependency_install=False,
    )


def _end_with_node_key(home: SiteHome, generation: int, node_key: NodeKey) -> None:
    """End this process when the site has another node key; its successor goes on with that."""
    while True:
        time.sleep(FOLLOW_S)
        current = home.membership().key_generation
        if current != generation:
            if NodeKey.load(home.keys(current).node).public != node_key.public:
                log.info("the node key has changed")
                os._exit(0)
            generation = current


if __name__ == "__main__":
    follow_supervisor()
    pulse = Pulse()
    # Its calls and its heartbeats have limits of their own; what remains is a process that stands still.
    pulse.expect(math.inf)
    pulse.start()
    site_home = SiteHome(Path(sys.argv[1]))
    try:
        hasten(site_home.proxy())
        serve(site_home, int(sys.argv[2]))
    except Exception:
        log.exception("the node failed")
    finally:
        # The Runtime API's threads would keep a node without connection alive.
        os._exit(1)
