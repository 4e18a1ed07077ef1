"""The way to the sites over Flower's grid."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from flwr.app import Message
from flwr.common.constant import ErrorCode
from flwr.superlink.grid import HttpGrid

from server.channel import Outgoing, Reply
from shared.errors import TrustError
from shared.flower.wire import MESSAGE_TYPE, pack, unpack

_is_class_name = re.compile(r"[A-Za-z]{1,64}").fullmatch

MADE_BY_SUPERLINK = frozenset(
    {ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE, ErrorCode.NODE_UNAVAILABLE}
)
"""Errors that the SuperLink answers with in the place of a node, such as of a message whose time is over."""


class GridChannel:
    """`SiteChannel` over the grid of one Flower run.

    Parameters
    ----------
    on_call
        Called at each call: rounds make several a second, except while they compute.
    """

    def __init__(self, grid: HttpGrid, on_call: Callable[[], None] = lambda: None) -> None:
        self._grid = grid
        self._on_call = on_call

    def online(self) -> Mapping[int, float]:
        """Node ids that are online, each with the time it was last activated (seconds since the epoch)."""
        self._on_call()
        return {
            node.node_id: datetime.fromisoformat(node.last_activated_at).timestamp()
            for node in self._grid.get_nodes()
        }

    def send(self, messages: Sequence[Outgoing], *, expires_in_s: float) -> list[str | None]:
        """Send to some nodes in one call, and what belongs to it beside each other.

        Returns
        -------
        list[str | None]
            The ids of the messages; None of one that Flower did not take.
        """
        self._on_call()
        made = [
            Message(
                content=pack(each.envelope),
                dst_node_id=each.node_id,
                message_type=MESSAGE_TYPE,
                ttl=expires_in_s,
            )
            for each in messages
        ]
        message_ids = list(self._grid.push_messages(made))
        # Of messages that are too large together Flower takes none, and returns nothing.
        return [message_id or None for message_id in message_ids] or [None] * len(made)

    def receive(self, message_ids: Collection[str]) -> list[Reply]:
        """The replies to these messages that have arrived; each is handed over once."""
        self._on_call()
        return [_to_reply(message) for message in self._grid.pull_messages(list(message_ids))]


def _to_reply(message: Message) -> Reply:
    message_id = message.metadata.reply_to_message_id
    if message.has_error():
        reason = message.error.reason or ""
        return Reply(
            message_id=message_id,
            envelope=None,
            failure=reason if _is_class_name(reason) else "",
            is_of_site=message.error.code not in MADE_BY_SUPERLINK,
        )
    try:
        return Reply(message_id=message_id, envelope=unpack(message))
    except TrustError:
        return Reply(message_id=message_id, envelope=None)
