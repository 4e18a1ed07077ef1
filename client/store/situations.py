"""What this site last told of itself outside of runs, and from which numbers it was made.

The numbers as they were then are kept because a new count leaves only once it differs enough from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Column, Engine, Float, Integer, LargeBinary, Table, delete, insert, select

from client.store.parts import Part
from client.store.schema import metadata
from shared.store import transaction

situation = Table(
    "situation",
    metadata,
    Column("number", Integer, primary_key=True, comment="grows; the coordinator refuses an older one"),
    Column("training", Integer, nullable=False, comment="labelled examples when it was told, as these two"),
    Column("validation", Integer, nullable=False),
    Column("test", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False, comment="what was told, without its signature"),
    Column("at", Float, nullable=False, comment="seconds since the epoch, UTC"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldSituation:
    """The last one that the coordinator has taken."""

    number: int
    counts: Mapping[Part, int]
    payload: bytes


class Situations:
    """The one row of a site's database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def last(self) -> ToldSituation | None:
        """None if none was told yet."""
        with transaction(self._engine) as connection:
            row = connection.execute(select(situation)).mappings().one_or_none()
        if row is None:
            return None
        return ToldSituation(
            number=row["number"],
            counts={
                Part.TRAIN: row["training"],
                Part.VALIDATION: row["validation"],
                Part.TEST: row["test"],
            },
            payload=row["payload"],
        )

    def keep(self, told: ToldSituation, *, at: float) -> None:
        """In the place of the one before."""
        with transaction(self._engine) as connection:
            connection.execute(delete(situation))
            connection.execute(
                insert(situation).values(
                    number=told.number,
                    training=told.counts[Part.TRAIN],
                    validation=told.counts[Part.VALIDATION],
                    test=told.counts[Part.TEST],
                    payload=told.payload,
                    at=at,
                )
            )
