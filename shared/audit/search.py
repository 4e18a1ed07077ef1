"""What a person looks for in the audit log, as a condition on its lines."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, or_, true

from shared.audit.schema import audit


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Lines that fit all of it; what is empty or None is no condition.

    Attributes
    ----------
    event
        One event, such as `run.finished`, or all of a kind: `run`.
    actor, subject, words
        Part of who acted, of what it happened to, or of any of these and of the details.
    from_ms, to_ms
        Milliseconds since the Unix epoch; the latter is no part of it.
    """

    event: str = ""
    actor: str = ""
    subject: str = ""
    words: str = ""
    from_ms: float | None = None
    to_ms: float | None = None

    def condition(self) -> ColumnElement[bool]:
        """On the columns of the log."""
        columns = audit.c
        found: list[ColumnElement[bool]] = [true()]
        if self.event:
            whole = columns.name.startswith(f"{self.event}.", autoescape=True)
            found.append(or_(columns.name == self.event, whole))
        if self.actor:
            found.append(columns.actor.contains(self.actor, autoescape=True))
        if self.subject:
            found.append(columns.subject.contains(self.subject, autoescape=True))
        if self.words:
            places = (columns.actor, columns.name, columns.subject, columns.details)
            found.append(or_(*(place.contains(self.words, autoescape=True) for place in places)))
        if self.from_ms is not None:
            found.append(columns.at_ms >= self.from_ms)
        if self.to_ms is not None:
            found.append(columns.at_ms < self.to_ms)
        return and_(*found)
