"""What Flower's table of nodes says of a site's contact."""

from __future__ import annotations

from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.constant import NodeStatus

from server.flower.control import contact_of
from server.members import Contact


def test_a_node_that_was_given_up_is_silent_since_then_and_one_that_never_came_since_no_time() -> None:
    online = NodeInfo(status=NodeStatus.ONLINE, online_until=2_000.0)
    given_up = NodeInfo(status=NodeStatus.OFFLINE, online_until=1_000.0)
    never_heard = NodeInfo(status=NodeStatus.REGISTERED)

    assert contact_of(online) == Contact(is_online=True, silent_since=None)
    assert contact_of(given_up) == Contact(is_online=False, silent_since=1_000.0)
    assert contact_of(never_heard) == Contact(is_online=False, silent_since=None)
