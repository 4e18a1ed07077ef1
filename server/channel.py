"""What the rounds need of the way to the sites; `server.flower.channel` speaks Flower."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """An envelope for one node."""

    node_id: int
    envelope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back for one message: an envelope, or None if the node failed before it could answer.

    Attributes
    ----------
    failure
        Name of the error's class that a failed node gives; empty if it gives none that looks like one.
    is_of_site
        Whether the site's node has sent it; no sign of life comes with a reply that was made in its place.
    """

    message_id: str
    envelope: bytes | None
    failure: str = ""
    is_of_site: bool = True


class SiteChannel(Protocol):
    """Sends envelopes to nodes and hands over their replies."""

    def online(self) -> Mapping[int, float]:
        """Node ids that are online, each with the time it was last activated (seconds since the epoch)."""
        ...

    def send(self, messages: Sequence[Outgoing], *, expires_in_s: float) -> list[str | None]:
        """Send to some nodes at once; returns the ids of the messages, None of one that was not taken."""
        ...

    def receive(self, message_ids: Collection[str]) -> list[Reply]:
        """The replies to these messages that have arrived; each is handed over once."""
        ...
