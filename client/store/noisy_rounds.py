"""Every round that this site has computed under noise: what `client.accounting` needs of each.

A line is written when a round is computed, before its update is kept and can leave; it is never taken back,
whatever becomes of the update or of the patients. So a crash in between counts a round that nobody saw.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Engine, insert, select

from client.accounting import Steps
from client.store.audit import append
from client.store.schema import noisy_round
from shared.audit.events import NoisyRoundComputed
from shared.records import Occasion
from shared.store import transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyRound:
    """One computed round: of which run, and its steps."""

    run_id: str
    round_number: int
    steps: Steps


class NoisyRounds:
    """Reads and writes the register."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def note(self, occasion: Occasion, steps: Steps, *, at: float) -> None:
        """Write down a round that was computed."""
        event = NoisyRoundComputed(
            subject=occasion.run_id,
            number=occasion.round_number,
            attempt=occasion.attempt,
            phase=occasion.phase,
            steps=steps.count,
        )
        with transaction(self._engine) as connection:
            connection.execute(
                insert(noisy_round).values(
                    run_id=occasion.run_id,
                    round_number=occasion.round_number,
                    attempt=occasion.attempt,
                    chance=steps.chance,
                    multiplier=steps.multiplier,
                    steps=steps.count,
                    at=at,
                )
            )
            append(connection, event, actor=occasion.site_id, at=at)

    def all(self, run_ids: Collection[str] | None = None) -> list[NoisyRound]:
        """In the order in which they were computed; those of these runs alone if given."""
        query = select(noisy_round).order_by(noisy_round.c.number)
        if run_ids is not None:
            query = query.where(noisy_round.c.run_id.in_(run_ids))
        with transaction(self._engine) as connection:
            rows = connection.execute(query).all()
        return [
            NoisyRound(
                run_id=row.run_id,
                round_number=row.round_number,
                steps=Steps(chance=row.chance, multiplier=row.multiplier, count=row.steps),
            )
            for row in rows
        ]
