"""Flower's nodes follow our register of sites: who is in it has a node, who is not any more has none.

The register is the only truth; SuperLink's table of nodes is made to agree with it, at its start and then
every `FOLLOW_EVERY_S`. A site that changes its node key keeps the old node until the new one is online.
"""

from __future__ import annotations

import logging
import threading
from typing import Protocol

from httpx import HTTPError

from server.store import Federation, Site
from server.store.memberships import Memberships
from shared.trust.keys import NodePublicKey

log = logging.getLogger(__name__)

FOLLOW_EVERY_S = 1.0


class NodeControl(Protocol):
    """What is asked of the SuperLink; `server.flower.control` speaks Flower."""

    def register_node(self, public_key_pem: bytes, name: str) -> int:
        """Make a node key known; returns the node's id."""
        ...

    def unregister_node(self, node_id: int) -> None:
        """End a node."""
        ...

    def nodes(self) -> dict[int, bool]:
        """Every registered node, and whether it is online."""
        ...


class Nodes:
    """Keeps SuperLink's nodes to the register; safe to call from several threads."""

    def __init__(self, federation: Federation, memberships: Memberships, control: NodeControl) -> None:
        self._federation = federation
        self._memberships = memberships
        self._control = control
        self._lock = threading.Lock()
        self._is_forgotten = False

    def introduce_all(self) -> None:
        """Make every active site's node known to a SuperLink that has just started with an empty state.

        Raises
        ------
        httpx.HTTPError
            The SuperLink does not answer.
        """
        self._federation.forget_nodes()
        self._is_forgotten = False
        for site in self._federation.active():
            self.introduce(site.site_id)

    def forget(self) -> None:
        """A SuperLink is starting with an empty state: the next `follow_register` begins anew."""
        self._is_forgotten = True

    def introduce(self, site_id: str) -> None:
        """Make a site's node known, and the one of a node key that it has changed to, unless they are.

        Raises
        ------
        httpx.HTTPError
            The SuperLink does not answer.
        """
        with self._lock:
            site = self._memberships.get(site_id)
            if site.node_id is None:
                self._federation.set_node_id(site_id, self._register(site.node_public_key, site_id))
            if site.next_node_public_key is not None and site.next_node_id is None:
                self._memberships.set_next_node_id(
                    site_id, self._register(site.next_node_public_key, site_id)
                )

    def follow_register(self) -> None:
        """Give every site its node, move sites to new ones that have come online, end the nodes of nobody."""
        try:
            nodes = self._control.nodes()
            if self._is_forgotten:
                self.introduce_all()
                return
            for site in self._federation.active():
                if _lacks_a_node(site):
                    self.introduce(site.site_id)
            with self._lock:
                for site in self._federation.active():
                    if site.next_node_id is not None and nodes.get(site.next_node_id, False):
                        self._memberships.move_to_next_node(site.site_id)
                        log.info("Site %s goes on with its new node key", site.site_id)
                for node_id in nodes.keys() - self._wanted():
                    self._control.unregister_node(node_id)
        except HTTPError as error:
            log.debug("the SuperLink does not answer: %s", type(error).__name__)

    def _wanted(self) -> set[int | None]:
        active = self._federation.active()
        return {site.node_id for site in active} | {site.next_node_id for site in active}

    def _register(self, node_public_key: str, site_id: str) -> int:
        return self._control.register_node(NodePublicKey(node_public_key).to_pem(), site_id)


def _lacks_a_node(site: Site) -> bool:
    return site.node_id is None or (site.next_node_public_key is not None and site.next_node_id is None)
