"""Attempts at all phases of all runs as they were closed, without what sites have told in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, RowMapping, Select, select

from server.lifecycle import AnswerState, RoundState
from server.store.schema import ATTEMPT_KEY, answer, round_
from shared.records import Phase
from shared.store import transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One site's part in an attempt; times in seconds since the Unix epoch, None where it came not so far."""

    site_id: str
    state: AnswerState
    asked_at: float
    fetched_at: float | None
    sending_at: float | None
    answered_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedAttempt:
    """One attempt at one phase of a round that is over, with the sites' parts in it, by site id."""

    run_id: str
    number: int
    attempt: int
    phase: Phase
    state: RoundState
    opened_at: float
    closed_at: float
    parts: Sequence[Part]


class ClosedAttempts:
    """Reads the register of runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def closed_since(self, at: float, *, at_most: int) -> list[ClosedAttempt]:
        """Those that were closed then or later, in the order of closing."""
        attempts = select(round_).where(round_.c.closed_at >= at).order_by(round_.c.closed_at).limit(at_most)
        with transaction(self._engine) as connection:
            rows = connection.execute(attempts).mappings().all()
            return [
                ClosedAttempt(
                    run_id=row["run_id"],
                    number=row["number"],
                    attempt=row["attempt"],
                    phase=Phase(row["phase"]),
                    state=RoundState(row["state"]),
                    opened_at=row["opened_at"],
                    closed_at=row["closed_at"],
                    parts=[
                        Part(**{**part, "state": AnswerState(part["state"])})
                        for part in connection.execute(_parts_of(row)).mappings()
                    ],
                )
                for row in rows
            ]


def _parts_of(row: RowMapping) -> Select[tuple[str, str, float, float, float, float]]:
    columns = ("site_id", "state", "asked_at", "fetched_at", "sending_at", "answered_at")
    return (
        select(*(answer.c[name] for name in columns))
        .where(*(answer.c[name] == row[name] for name in ATTEMPT_KEY))
        .order_by(answer.c.site_id)
    )
