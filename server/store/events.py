"""The coordinator's trail: its audit log by the ids of what it tells about."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from server.store.audit import AuditLog, append
from shared.audit.event import Detail
from shared.audit.events import EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the trail.

    Attributes
    ----------
    event_id
        Grows with time.
    at
        Seconds since the Unix epoch.
    actor
        A person at the terminal, `coordinator`, or a site id.
    name
        Stable name, such as `run.submitted`.
    subject
        Id of what it happened to.
    """

    event_id: int
    at: float
    actor: str
    name: str
    subject: str
    details: Mapping[str, Detail]


def append_event(
    connection: Connection, *, at: float, actor: str, name: str, subject: str, **details: Any
) -> None:
    """Append the event of this name within the caller's transaction.

    Raises
    ------
    StoreError
        A detail is not of the kind that the event declares.
    """
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in details.items()}
    append(connection, EVENTS[name](subject=subject, **values), actor=actor, at=at)


class Events:
    """Reading the trail."""

    def __init__(self, engine: Engine) -> None:
        self._log = AuditLog(engine)

    def append(self, *, at: float, actor: str, name: str, subject: str, **details: Any) -> None:
        """Append one line in a transaction of its own."""
        self._log.append(EVENTS[name](subject=subject, **details), actor=actor, at=at)

    def after(self, event_id: int = 0, *, subject: str | None = None, limit: int = 1000) -> list[Event]:
        """Lines younger than `event_id`, oldest first, of one subject if given."""
        lines = itertools.islice(self._log.lines(after=event_id, subject=subject), limit)
        return [
            Event(
                event_id=line.sequence,
                at=line.at_ms / 1000,
                actor=line.actor,
                name=line.name,
                subject=line.subject,
                details=line.details,
            )
            for line in lines
        ]
