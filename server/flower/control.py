"""The coordinator's calls to Flower's Control API: register nodes and start runs."""

from __future__ import annotations

import ssl
import time

import httpx
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    RegisterNodeRequest,
    StartRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.constant import NodeStatus
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from server.home import LOOPBACK, CoordinatorHome
from server.members import Contact
from shared.errors import UnreachableError
from shared.flower.bundle import RUN_SETTING, build_bundle, bundle_sha256


class _Bearer:
    """Adds our token to each request; the stock client has no setting for it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers["authorization"] = f"Bearer {self._token}"
        return call_next(context)


class Control:
    """Calls to the private listener of the running SuperLink."""

    def __init__(self, home: CoordinatorHome) -> None:
        self._address = f"{LOOPBACK}:{home.settings().control_port}"
        root = home.root_certificate_file.read_bytes()
        self._tls = ssl.create_default_context(cadata=root.decode())
        self._client = ControlHttpClient.from_server_address(
            self._address,
            False,
            root,
            interceptors=[_Bearer(home.control_token_file.read_text().strip())],
        )

    def register_node(self, public_key_pem: bytes, name: str) -> int:
        """Make a site's node key known; returns the node id that Flower drew for it."""
        return int(
            self._client.RegisterNode(RegisterNodeRequest(public_key=public_key_pem, name=name)).node_id
        )

    def unregister_node(self, node_id: int) -> None:
        """End a node: its next call is refused."""
        self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))

    def nodes(self) -> dict[int, bool]:
        """Every registered node, and whether it is online."""
        known = self._client.ListNodes(ListNodesRequest()).nodes_info
        return {
            node.node_id: node.status == NodeStatus.ONLINE
            for node in known
            if node.status != NodeStatus.UNREGISTERED
        }

    def contacts(self) -> dict[int, Contact]:
        """Whether each registered node answers; empty while the SuperLink does not."""
        try:
            known = self._client.ListNodes(ListNodesRequest()).nodes_info
        except httpx.HTTPError:
            return {}
        return {node.node_id: contact_of(node) for node in known}

    def start_run(self, run_id: str) -> int:
        """Hand the bundle of a run to Flower; returns Flower's own id of it.

        Raises
        ------
        UnreachableError
            The coordinator's processes are not running.
        """
        bundle = build_bundle()
        request = StartRunRequest(
            fab=fab_to_proto(Fab(bundle_sha256(bundle), bundle, {})),
            override_config=user_config_to_proto({RUN_SETTING: run_id}),
        )
        self.require_running()
        return int(self._client.StartRun(request).run_id)

    def require_running(self) -> None:
        """Pass if the SuperLink answers.

        Raises
        ------
        UnreachableError
            It does not.
        """
        if not self.is_up():
            raise UnreachableError(
                "The coordinator is not running.", "Start it with `mammofed-coordinator serve`."
            )

    def is_up(self) -> bool:
        """Whether the SuperLink answers now."""
        try:
            return httpx.get(f"https://{self._address}/health", verify=self._tls, timeout=2).is_success
        except httpx.TransportError:
            return False

    def wait_until_up(self, timeout_s: float) -> bool:
        """Whether the SuperLink answers within `timeout_s`."""
        end = time.monotonic() + timeout_s
        while not self.is_up():
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        return True


def contact_of(node: NodeInfo) -> Contact:
    """Flower's `online_until` is, once it has passed, when the node was given up."""
    is_online = node.status == NodeStatus.ONLINE
    return Contact(is_online=is_online, silent_since=None if is_online else node.online_until or None)
