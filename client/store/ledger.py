"""The egress ledger: every record that leaves the site, written before it is sent."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import CheckConstraint, Column, Engine, Float, Integer, String, Table, insert, select

from client.store.schema import metadata
from shared.records import Occasion
from shared.store import transaction

ledger = Table(
    "ledger",
    metadata,
    Column("number", Integer, primary_key=True, comment="order of leaving"),
    Column("at", Float, nullable=False, comment="seconds since the epoch, UTC"),
    Column("run_id", String(63), nullable=False),
    Column("round_number", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("phase", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("tensors", Integer, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", String(64), nullable=False, comment="of the bytes that left, hex"),
    CheckConstraint("kind IN ('update', 'contribution', 'refusal')", name="kind_known"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One record that leaves.

    Attributes
    ----------
    kind
        `update`, `contribution` or `refusal`.
    tensors
        How many tensors it holds.
    sha256
        Hex digest of its bytes.
    """

    occasion: Occasion
    kind: str
    tensors: int
    size_bytes: int
    sha256: str


class Ledger:
    """Appends to the ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def append(self, entry: LedgerEntry) -> None:
        """Write one line."""
        occasion = entry.occasion
        with transaction(self._engine) as connection:
            connection.execute(
                insert(ledger).values(
                    at=time.time(),
                    run_id=occasion.run_id,
                    round_number=occasion.round_number,
                    attempt=occasion.attempt,
                    phase=occasion.phase.value,
                    kind=entry.kind,
                    tensors=entry.tensors,
                    size_bytes=entry.size_bytes,
                    sha256=entry.sha256,
                )
            )

    def total_bytes(self) -> int:
        """Bytes of all lines."""
        with transaction(self._engine) as connection:
            return sum(connection.execute(select(ledger.c.size_bytes)).scalars())
