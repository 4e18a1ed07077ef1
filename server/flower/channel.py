"""The way to the sites over Flower's grid."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from flwr.app import Message
from flwr.superlink.grid import HttpGrid

from server.channel import Reply
from shared.errors import TransferError, TrustError
from shared.flower.wire import MESSAGE_TYPE, pack, unpack


class GridChannel:
    """`SiteChannel` over the grid of one Flower run."""

    def __init__(self, grid: HttpGrid) -> None:
        self._grid = grid

    def online(self) -> Mapping[int, float]:
        """Node ids that are online, each with the time it was last activated (seconds since the epoch)."""
        return {
            node.node_id: datetime.fromisoformat(node.last_activated_at).timestamp()
            for node in self._grid.get_nodes()
        }

    def send(self, node_id: int, envelope: bytes, *, expires_in_s: float) -> str:
        """Send to one node; returns the message's id.

        Raises
        ------
        TransferError
            Flower did not take the message.
        """
        message = Message(
            content=pack(envelope), dst_node_id=node_id, message_type=MESSAGE_TYPE, ttl=expires_in_s
        )
        (message_id,) = self._grid.push_messages([message])
        if not message_id:
            raise TransferError("A message could not be sent to a site.", "Look at the coordinator's log.")
        return message_id

    def receive(self, message_ids: Collection[str]) -> list[Reply]:
        """The replies to these messages that have arrived; each is handed over once."""
        return [_to_reply(message) for message in self._grid.pull_messages(list(message_ids))]


def _to_reply(message: Message) -> Reply:
    message_id = message.metadata.reply_to_message_id
    if message.has_error():
        return Reply(message_id=message_id, envelope=None)
    try:
        return Reply(message_id=message_id, envelope=unpack(message))
    except TrustError:
        return Reply(message_id=message_id, envelope=None)
