"""A coordinator's services on loopback over a real store, without Flower: joining, staying and leaving."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from client.home import SiteHome
from client.joining import join
from deploy.demo.federation import free_ports
from server.authority import retire_root, rotate_root, rotate_signing_key
from server.consent import ConsentService
from server.coordinator import Coordinator, identity_of
from server.enrolment import EnrolmentService, serve_enrolment
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from server.nodes import Nodes
from server.renewal import RenewalService
from server.service import BlobPolicy
from shared.enrolment.token import InvitationToken, Secret, hash_secret
from shared.transfer.rpc import open_channel
from shared.transfer.service import TransferService, serve_blobs
from shared.trust.certificates import fingerprint
from shared.trust.keys import TlsKey
from shared.trust.tls import (
    enrolment_server_credentials,
    mutual_channel_credentials,
    mutual_server_credentials,
)

BUNDLE_SHA256 = "b" * 64


@dataclass
class SimulatedSuperLink:
    """Flower's table of nodes: ids by node key, and which of them are online."""

    ids: dict[bytes, int] = field(default_factory=dict)
    online: set[int] = field(default_factory=set)

    def register_node(self, public_key_pem: bytes, _name: str) -> int:
        assert public_key_pem not in self.ids
        self.ids[public_key_pem] = 2**62 + len(self.ids)
        return self.ids[public_key_pem]

    def unregister_node(self, node_id: int) -> None:
        self.ids = {key: one for key, one in self.ids.items() if one != node_id}

    def nodes(self) -> dict[int, bool]:
        return {node_id: node_id in self.online for node_id in self.ids.values()}


class OpenPolicy(BlobPolicy):
    """Lets a member move any blob."""

    def may_fetch(self, _site_id: str, _digest: str) -> bool:
        return True

    def may_send(self, _site_id: str, _digest: str, _size_bytes: int) -> bool:
        return True


class MemberCoordinator:
    """A founded coordinator whose enrolment, renewal and blob services listen on loopback."""

    def __init__(self, folder: Path) -> None:
        first = free_ports(4)
        self.home = CoordinatorHome(folder)
        settings = CoordinatorSettings(
            name="Members",
            fleet_port=first,
            enrolment_port=first + 1,
            transfer_port=first + 2,
            control_port=first + 3,
        )
        found(self.home, settings, now=time.time(), actor="test")
        self.superlink = SimulatedSuperLink()
        self.start()

    def start(self) -> None:
        """Open the home and listen, as after a start of its service."""
        settings, identity = self.home.settings(), identity_of(self.home)
        self.coordinator = Coordinator.open(self.home)
        self.nodes = Nodes(self.coordinator.federation, self.coordinator.memberships, self.superlink)
        chain_pem, key = self.home.tls_chain_file.read_bytes(), TlsKey.load(self.home.tls_key_file)
        enrolment, _ = serve_enrolment(
            EnrolmentService(
                coordinator=identity,
                register=self.coordinator.federation,
                clock=time.time,
                on_enrolled=lambda site: self.nodes.introduce(site.site_id),
            ),
            host="127.0.0.1",
            port=settings.enrolment_port,
            credentials=enrolment_server_credentials(chain_pem=chain_pem, key=key),
        )
        renewals = RenewalService(
            coordinator=identity,
            federation=self.coordinator.federation,
            memberships=self.coordinator.memberships,
            clock=time.time,
            is_clock_right=lambda: not self.coordinator.clock.trouble(),
            on_renewed=self.nodes.introduce,
        )
        self.consents = ConsentService(self.coordinator, bundle_sha256=BUNDLE_SHA256, clock=time.time)
        policy = OpenPolicy(
            federation=self.coordinator.federation,
            memberships=self.coordinator.memberships,
            runs=self.coordinator.runs,
            models=self.coordinator.models,
        )
        transfer, _ = serve_blobs(
            TransferService(self.coordinator.blobs, policy, accepts=policy.accepts),
            host="127.0.0.1",
            port=settings.transfer_port,
            credentials=mutual_server_credentials(
                chain_pem=chain_pem, key=key, root_pem=identity.anchors.bundle_pem
            ),
            num_threads=8,
            add_others=self._add_others(renewals),
        )
        self._servers = [enrolment, transfer]

    def _add_others(self, renewals: RenewalService) -> Callable[[grpc.Server], None]:
        def add(server: grpc.Server) -> None:
            renewals.add_to(server)
            self.consents.add_to(server)

        return add

    def change_keys(self, *changes: str) -> None:
        """Stop, make these changes (`signing`, `root`, `retire`), and start again."""
        self.stop()
        for change in changes:
            log, now = self.coordinator.audit, time.time()
            if change == "signing":
                rotate_signing_key(self.home, log, now=now, actor="test")
            elif change == "root":
                rotate_root(self.home, log, now=now, actor="test")
            else:
                sites = self.coordinator.federation.active()
                retire_root(self.home, log, sites, now=now, actor="test")
        self.start()

    def invite(self, name: str, *, by_hand: bool = False) -> InvitationToken:
        secret, now = Secret.generate(), time.time()
        self.coordinator.federation.invite(
            secret_hash=hash_secret(secret),
            site_id=f"site-{name}",
            site_name=name,
            now=now,
            expires_at=now + 60,
            actor="test",
            by_hand=by_hand,
        )
        return InvitationToken(
            host="127.0.0.1",
            port=self.home.settings().enrolment_port,
            root_fingerprint=fingerprint(self.home.root_certificate_file.read_bytes()),
            site_name=name,
            secret=secret,
        )

    def member(self, folder: Path, name: str = "aarhus") -> SiteHome:
        """A site's home that has joined."""
        home = SiteHome(folder)
        join(home, self.invite(name), actor="local:test")
        return home

    def revoke(self, name: str = "aarhus") -> None:
        self.coordinator.memberships.revoke(name, reason="test", now=time.time(), actor="test")

    def event_names(self) -> list[str]:
        return [line.name for line in self.coordinator.audit.lines()]

    def stop(self) -> None:
        for server in self._servers:
            server.stop(None).wait(10)


def channel_of(
    home: SiteHome, *, generation: int | None = None, certificate_pem: bytes = b""
) -> grpc.Channel:
    """What a site's process opens with its certificate and key, or with those of an earlier generation."""
    membership = home.membership()
    number = membership.key_generation if generation is None else generation
    credentials = mutual_channel_credentials(
        root_pem=membership.anchors.bundle_pem,
        certificate_pem=certificate_pem or membership.certificate_pem,
        key=TlsKey.load(home.keys(number).tls),
    )
    return open_channel(membership.transfer_address, credentials)
