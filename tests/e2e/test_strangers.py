"""Strangers at the doors of a running federation: they know its addresses and its root, and hold no key."""

from __future__ import annotations

import ssl
import time

import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest, RegisterNodeFleetRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from client.home import SiteHome
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.store import Site
from shared.transfer.rpc import open_channel
from shared.transfer.transfer_pb2 import StatRequest
from shared.transfer.transfer_pb2_grpc import TransferStub
from shared.trust.issuing import Issuer, new_root, new_site_certificate
from shared.trust.keys import TlsKey
from shared.trust.signing_request import new_csr
from shared.trust.tls import enrolment_channel_credentials, mutual_channel_credentials
from tests.e2e.small_federation import VENDORS, SmallFederation

LOOPBACK = "127.0.0.1"
CALL_TIMEOUT_S = 10.0


@pytest.fixture
def coordinator(federation: SmallFederation) -> CoordinatorHome:
    return CoordinatorHome(federation.coordinator.home)


def nodes(coordinator: CoordinatorHome) -> list[Site]:
    """The sites with the nodes that the running SuperLink has given them."""
    return Coordinator.open(coordinator).federation.active()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/list-nodes",
        "/v1/control/register-node",
        "/v1/control/start-run",
        "/v1/runtime/acquire-task",
        "/v1/runtime/pull-messages",
        "/docs",
    ],
)
def test_a_stranger_at_the_public_port_cannot_reach_control_or_runtime_even_with_the_token(
    federation: SmallFederation, coordinator: CoordinatorHome, path: str
) -> None:
    token = coordinator.control_token_file.read_text().strip()

    answer = httpx.post(
        f"https://{LOOPBACK}:{federation.first_port}{path}",
        headers={"authorization": f"Bearer {token}", "content-type": "application/protobuf"},
        verify=ssl.create_default_context(cafile=coordinator.root_certificate_file),
        timeout=CALL_TIMEOUT_S,
    )

    assert (answer.status_code, answer.content) == (404, b"")
    assert "server" not in answer.headers


def test_a_stranger_cannot_register_activate_or_speak_for_a_node(
    federation: SmallFederation, coordinator: CoordinatorHome
) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    public_key = public_key_to_bytes(key.public_key())
    before = nodes(coordinator)
    victim = before[0].node_id
    assert victim is not None
    stranger = FleetHttpClient.from_server_address(
        f"{LOOPBACK}:{federation.first_port}",
        False,
        coordinator.root_certificate_file.read_bytes(),
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ],
    )

    with stranger:
        with pytest.raises(httpx.HTTPStatusError) as registered:
            stranger.RegisterNode(RegisterNodeFleetRequest(public_key=public_key))
        with pytest.raises(httpx.HTTPStatusError) as activated:
            stranger.ActivateNode(ActivateNodeRequest(public_key=public_key, heartbeat_interval=30))
        with pytest.raises(httpx.HTTPStatusError) as pulled:
            stranger.PullMessages(PullMessagesRequest(node=Node(node_id=victim)))

    assert registered.value.response.is_client_error
    assert activated.value.response.is_client_error
    assert pulled.value.response.status_code == 401
    assert nodes(coordinator) == before
    assert [site.name for site in before if site.node_id] == [site.name for site in before]
    assert {site.name for site in before} == set(VENDORS)


def test_a_stranger_without_a_certificate_of_the_federation_cannot_move_blobs(
    federation: SmallFederation, coordinator: CoordinatorHome
) -> None:
    root_pem = coordinator.root_certificate_file.read_bytes()
    nobody = enrolment_channel_credentials(root_pem=root_pem)

    assert status_of_a_call(federation, nobody) is grpc.StatusCode.UNAVAILABLE
    assert status_of_a_call(federation, forged(federation, root_pem)) is grpc.StatusCode.UNAVAILABLE
    assert status_of_a_call(federation, genuine(federation)) is grpc.StatusCode.PERMISSION_DENIED


def forged(federation: SmallFederation, root_pem: bytes) -> grpc.ChannelCredentials:
    """A certificate that names a real site, from a root that the stranger has made."""
    membership = SiteHome(federation.sites["hospital-lake"].home).membership()
    own_root_key, key = TlsKey.generate(), TlsKey.generate()
    own_root_pem = new_root(federation_name="Small Federation", key=own_root_key, now=time.time())
    certificate_pem = new_site_certificate(
        csr_pem=new_csr(key),
        site_id=membership.site_id,
        issuer=Issuer(certificate_pem=own_root_pem, key=own_root_key),
        now=time.time(),
    )
    return mutual_channel_credentials(root_pem=root_pem, certificate_pem=certificate_pem, key=key)


def genuine(federation: SmallFederation) -> grpc.ChannelCredentials:
    """What a site of the federation shows; it gets an answer, if only that it may not do this now."""
    home = SiteHome(federation.sites["hospital-lake"].home)
    membership = home.membership()
    return mutual_channel_credentials(
        root_pem=membership.anchors.bundle_pem,
        certificate_pem=membership.certificate_pem,
        key=TlsKey.load(home.tls_key_file),
    )


def status_of_a_call(federation: SmallFederation, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
    """How the blob service answers a question about a blob that nobody asked for."""
    with open_channel(f"{LOOPBACK}:{federation.first_port + 2}", credentials) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            TransferStub(channel).Stat(StatRequest(digest="0" * 64, size_bytes=1), timeout=CALL_TIMEOUT_S)
        code: grpc.StatusCode = refused.value.code()
        return code
