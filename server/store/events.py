"""The append-only trail of what happened, and by whom."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, insert, select

from server.store.schema import event
from shared.store import transaction


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
    details
        JSON values; no patient data, path or secret.
    """

    event_id: int
    at: float
    actor: str
    name: str
    subject: str
    details: dict[str, Any]


def append_event(
    connection: Connection, *, at: float, actor: str, name: str, subject: str, **details: Any
) -> None:
    """Append a line within the caller's transaction."""
    connection.execute(
        insert(event).values(
            at=at, actor=actor, name=name, subject=subject, details=json.dumps(details, sort_keys=True)
        )
    )


class Events:
    """Reading the trail."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(self, *, at: float, actor: str, name: str, subject: str, **details: Any) -> None:
        """Append one line in a transaction of its own."""
        with transaction(self._engine) as connection:
            append_event(connection, at=at, actor=actor, name=name, subject=subject, **details)

    def after(self, event_id: int = 0, *, subject: str | None = None, limit: int = 1000) -> list[Event]:
        """Lines younger than `event_id`, oldest first, of one subject if given."""
        query = select(event).where(event.c.event_id > event_id).order_by(event.c.event_id).limit(limit)
        if subject is not None:
            query = query.where(event.c.subject == subject)
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [Event(**{**row, "details": json.loads(row["details"])}) for row in rows]
