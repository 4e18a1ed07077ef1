"""How far a site is with what it is asked for, as the blob service sees it: to be shown, and nothing else."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Engine, and_, or_, select, update

from server.lifecycle import AnswerState, RoundState
from server.store.schema import ATTEMPT_KEY, answer, round_
from shared.records import Phase
from shared.store import transaction

_KEY = tuple(answer.c[name] for name in ATTEMPT_KEY)


class Transfers:
    """Notes when a site has fetched an attempt's weights, and when it begins to send its update.

    The first time counts. Nothing is written where there is nothing new.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def note_fetched(self, site_id: str, digest: str, *, at: float) -> None:
        """All bytes of a blob were given to a site."""
        weights = or_(round_.c.base_digest == digest, round_.c.base_delta_digest == digest)
        self._note(and_(answer.c.site_id == site_id, answer.c.fetched_at.is_(None), weights), fetched_at=at)

    def note_sending(self, site_id: str, *, at: float) -> None:
        """A site has begun to send a blob that is expected of it."""
        trains = answer.c.phase == Phase.TRAIN.value
        self._note(and_(answer.c.site_id == site_id, answer.c.sending_at.is_(None), trains), sending_at=at)

    def _note(self, condition: ColumnElement[bool], **times: float) -> None:
        query = (
            select(*_KEY, answer.c.site_id)
            .join(round_, and_(*(answer.c[name] == round_.c[name] for name in ATTEMPT_KEY)))
            .where(condition, round_.c.state == RoundState.OPEN, answer.c.state == AnswerState.ASKED)
        )
        with transaction(self._engine) as connection:
            found = connection.execute(query).mappings().all()
        if not found:
            return
        with transaction(self._engine) as connection:
            for row in found:
                this = and_(*(answer.c[name] == value for name, value in row.items()))
                connection.execute(update(answer).where(this).values(**times))
