"""The audit log of one side, on its relational store.

Several processes of a side append to one log. A line is read from nothing older than the write lock that its
own line is written under, so that the chain cannot fork; a unique previous hash would refuse it if it did.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from sqlalchemy import Connection, Engine, RowMapping, delete, false, func, insert, select

from shared.audit.chain import GENESIS, AuditLine, seal
from shared.audit.checkpoints import (
    Checkpoint,
    Contradiction,
    contradiction,
    open_checkpoint,
    sign_checkpoint,
)
from shared.audit.event import Event
from shared.audit.events import CheckpointKept, HistoryContradicted
from shared.audit.schema import audit, audit_checkpoint
from shared.audit.search import Search
from shared.errors import StoreError
from shared.store import transaction
from shared.trust.envelope import Envelope
from shared.trust.keys import SigningKey, VerifyKey

MAX_ACTOR_CHARACTERS = 80
PAGE_LINES = 1000


def append(connection: Connection, event: Event, *, actor: str, at: float) -> AuditLine:
    """Append a line within the caller's transaction: the event and what it tells are committed together.

    Parameters
    ----------
    actor
        `person:NAME`, `local:USER`, `coordinator` or a site id.
    at
        Seconds since the Unix epoch.

    Raises
    ------
    StoreError
        No actor is named.
    """
    if not (actor.isprintable() and 0 < len(actor) <= MAX_ACTOR_CHARACTERS):
        raise StoreError(
            "An event cannot be written down without a usable name of who did it.",
            "Use a name of 1 to 80 printable characters.",
        )
    sequence, head = _locked_head(connection)
    line = seal(
        AuditLine(
            sequence=sequence + 1,
            at_ms=_ms(at),
            actor=actor,
            name=event.name,
            subject=event.subject,
            details=event.details(),
            previous=head,
            hash="",
        )
    )
    connection.execute(
        insert(audit).values(
            sequence=line.sequence,
            at_ms=line.at_ms,
            actor=line.actor,
            name=line.name,
            subject=line.subject,
            details=json.dumps(line.details, sort_keys=True),
            previous=line.previous,
            hash=line.hash,
        )
    )
    return line


class AuditLog:
    """Reading, appending, and the exchange of checkpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(self, event: Event, *, actor: str, at: float) -> AuditLine:
        """Append a line in a transaction of its own."""
        with transaction(self._engine) as connection:
            return append(connection, event, actor=actor, at=at)

    def last(self, kind: type[Event], *, subject: str) -> AuditLine | None:
        """The last line of a kind about a subject."""
        with transaction(self._engine) as connection:
            return _last(connection, kind, subject)

    def latest_at(self) -> float | None:
        """The latest time of any line, in seconds since the Unix epoch; None while there is none."""
        with transaction(self._engine) as connection:
            at_ms = connection.execute(select(func.max(audit.c.at_ms))).scalar_one()
        return None if at_ms is None else at_ms / 1000

    def append_after_last(
        self,
        kind: type[Event],
        make: Callable[[AuditLine | None], Event | None],
        *,
        subject: str,
        actor: str,
        at: float,
    ) -> None:
        """Append what follows from the last line of a kind, if anything does; no other line comes between."""
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            event = make(_last(connection, kind, subject))
            if event is not None:
                append(connection, event, actor=actor, at=at)

    def search(self, search: Search, *, before: int | None = None, at_most: int) -> list[AuditLine]:
        """The newest lines that fit, of those with a lower number if one is given; the newest first."""
        query = select(audit).where(search.condition()).order_by(audit.c.sequence.desc()).limit(at_most)
        if before is not None:
            query = query.where(audit.c.sequence < before)
        with transaction(self._engine) as connection:
            return [_to_line(row) for row in connection.execute(query).mappings()]

    def lines(
        self, *, after: int = 0, subject: str | None = None, search: Search | None = None
    ) -> Iterator[AuditLine]:
        """Lines with a higher number, in their order, of one subject, or that fit a search, if given.

        Read in pages, so that a long log is neither in memory nor in anybody's way.
        """
        query = select(audit).order_by(audit.c.sequence).limit(PAGE_LINES)
        if subject is not None:
            query = query.where(audit.c.subject == subject)
        if search is not None:
            query = query.where(search.condition())
        while True:
            with transaction(self._engine) as connection:
                rows = connection.execute(query.where(audit.c.sequence > after)).mappings().all()
            yield from map(_to_line, rows)
            if len(rows) < PAGE_LINES:
                return
            after = rows[-1]["sequence"]

    def checkpoint(self, *, side: str, key: SigningKey, at: float) -> Envelope:
        """Vouch for all that is written so far, to be given to the other side."""
        with transaction(self._engine) as connection:
            sequence, head = _head(connection)
        return sign_checkpoint(Checkpoint(side=side, sequence=sequence, head=head, at_ms=_ms(at)), key)

    def keep_checkpoint(
        self, of: str, envelope: Envelope, *, key: VerifyKey, actor: str, at: float
    ) -> Contradiction | None:
        """Keep a checkpoint that another side gave, with a line about it; the same one again is kept once.

        A checkpoint that contradicts those before it is kept as well, for it proves the contradiction, and
        the contradiction is written down. What then becomes of that side is a person's decision.

        Parameters
        ----------
        of
            Whose log it vouches for: `coordinator` or a site id.
        key
            That side's signing key.
        actor
            Who keeps it.

        Raises
        ------
        TrustError
            That side did not sign it for its own log.
        """
        checkpoint = open_checkpoint(envelope, of=of, key=key)
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            # Shorter histories than the new one contradict it in nothing: growing is what a log does.
            kept = _checkpoints_of(connection, of, from_sequence=checkpoint.sequence)
            if checkpoint in kept:
                return None
            connection.execute(
                insert(audit_checkpoint).values(
                    side=of,
                    sequence=checkpoint.sequence,
                    head=checkpoint.head,
                    at_ms=checkpoint.at_ms,
                    envelope=envelope.to_bytes(),
                    kept_at_ms=_ms(at),
                )
            )
            sequence, head = checkpoint.sequence, checkpoint.head
            append(connection, CheckpointKept(subject=of, sequence=sequence, head=head), actor=actor, at=at)
            found = contradiction(kept, checkpoint)
            if found is not None:
                event = HistoryContradicted(subject=of, reason=found.value, sequence=sequence, head=head)
                append(connection, event, actor=actor, at=at)
        return found

    def checkpoints_of(self, side: str) -> list[Checkpoint]:
        """What another side vouched for, in the order in which it was kept."""
        with transaction(self._engine) as connection:
            return _checkpoints_of(connection, side, from_sequence=0)


def take_write_lock(connection: Connection) -> None:
    """Wait for the write lock, and hold it to the end of the transaction; deletes nothing."""
    connection.execute(delete(audit).where(false()))


def _locked_head(connection: Connection) -> tuple[int, str]:
    take_write_lock(connection)
    return _head(connection)


def _head(connection: Connection) -> tuple[int, str]:
    query = select(audit.c.sequence, audit.c.hash).order_by(audit.c.sequence.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return (row.sequence, row.hash) if row else (0, GENESIS)


def _last(connection: Connection, kind: type[Event], subject: str) -> AuditLine | None:
    query = (
        select(audit)
        .where(audit.c.subject == subject, audit.c.name == kind.name)
        .order_by(audit.c.sequence.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _to_line(row)


def _checkpoints_of(connection: Connection, side: str, *, from_sequence: int) -> list[Checkpoint]:
    columns = (audit_checkpoint.c[name] for name in ("side", "sequence", "head", "at_ms"))
    query = (
        select(*columns)
        .where(audit_checkpoint.c.side == side, audit_checkpoint.c.sequence >= from_sequence)
        .order_by(audit_checkpoint.c.number)
    )
    return [Checkpoint(**row) for row in connection.execute(query).mappings()]


def _to_line(row: RowMapping) -> AuditLine:
    return AuditLine(**{**row, "details": json.loads(row["details"])})


def _ms(at: float) -> int:
    return round(at * 1000)
