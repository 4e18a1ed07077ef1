"""Messages that sites have left unanswered while they were waited for, and what is heard of them later."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from server.channel import Reply
from shared.records import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    message_id: str
    phase: Phase
    asked_at: float


@dataclass(slots=True)
class Lateness:
    """Of one run while it goes on: the last such message of each site, and when sites have answered one."""

    _owing: dict[str, _Message] = field(default_factory=dict)
    _heard_at: dict[str, float] = field(default_factory=dict)
    _took_s: dict[str, float] = field(default_factory=dict)

    def note(self, site_id: str, message_id: str, phase: Phase, *, asked_at: float) -> None:
        """A site has not answered a message when its attempt was closed."""
        self._owing[site_id] = _Message(message_id=message_id, phase=phase, asked_at=asked_at)

    def message_ids(self) -> frozenset[str]:
        """The messages of which something may still be heard."""
        return frozenset(each.message_id for each in self._owing.values())

    def hear(self, reply: Reply, *, now: float) -> str | None:
        """The site that has shown by this reply that it lives, if it is one to such a message."""
        sites = {each.message_id: site_id for site_id, each in self._owing.items()}
        if (site_id := sites.get(reply.message_id)) is None:
            return None
        message = self._owing.pop(site_id)
        if not reply.is_of_site:
            return None
        self._heard_at[site_id] = now
        if reply.envelope is not None and message.phase is Phase.TRAIN:
            self._took_s[site_id] = now - message.asked_at
        return site_id

    def heard_at(self, site_id: str) -> float:
        """When a site has answered too late, in seconds since the epoch; 0 if never."""
        return self._heard_at.get(site_id, 0.0)

    def training_times_s(self) -> Collection[float]:
        """How long the last late answer of training took, of each site that gave one."""
        return self._took_s.values()
