"""Attempts at rounds, read and closed within a transaction that its caller has begun."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, and_, select, update

from server.lifecycle import ROUND_TRANSITIONS, AnswerState, RoundState, require_transition
from server.store.audit import COORDINATOR, append
from server.store.figures import figures_over, to_text
from server.store.histories import admitted
from server.store.outcomes import last_counts
from server.store.run import Checkpoint, Round
from server.store.run_rows import columns_of, key_of, to_round
from server.store.schema import answer, round_
from shared.audit.events import AnswerLost, RoundAggregated, RoundVoid
from shared.evaluation.together import Together
from shared.records import Phase


def load_rounds(connection: Connection, run_id: str) -> list[Round]:
    """Every attempt of a run, in order of opening."""
    query = select(round_).where(round_.c.run_id == run_id).order_by(round_.c.opened_at)
    return [to_round(row) for row in connection.execute(query).mappings()]


def void_open_rounds(connection: Connection, run_id: str, *, at: float, unanswered: str) -> None:
    """Close the attempts of a run that are open; who has not answered is lost for the reason `unanswered`."""
    for left in load_rounds(connection, run_id):
        if left.state is RoundState.OPEN:
            close_round(connection, left, None, state=RoundState.VOID, at=at, unanswered=unanswered)


def close_round(
    connection: Connection,
    closed: Round,
    aggregate: Checkpoint | None,
    *,
    state: RoundState,
    at: float,
    unanswered: str,
    together: Together | None = None,
) -> None:
    """Close an attempt, and lose to it who has not answered. Raises AggregationError if it is not open."""
    key = key_of(closed)
    of_round = and_(*(round_.c[name] == value for name, value in key.items()))
    of_answer = and_(*(answer.c[name] == value for name, value in key.items()))
    old = connection.execute(select(round_.c.state).where(of_round)).scalar_one()
    require_transition(ROUND_TRANSITIONS, RoundState(old), state)
    connection.execute(
        update(round_)
        .where(of_round)
        .values(
            state=state,
            closed_at=at,
            figures=_figures(connection, key, together) if closed.phase is Phase.TRAIN else None,
            together=None if together is None else together.model_dump_json(),
            **columns_of("aggregate", aggregate.weights if aggregate else None),
            **columns_of("aggregate_state", aggregate.state if aggregate else None),
        )
    )
    still_asked = and_(of_answer, answer.c.state == AnswerState.ASKED)
    lost = select(answer.c.site_id).where(still_asked).order_by(answer.c.site_id)
    for site_id in connection.execute(lost).scalars().all():
        no_answer = AnswerLost(
            subject=closed.run_id,
            number=closed.number,
            attempt=closed.attempt,
            phase=closed.phase,
            reason=unanswered,
        )
        append(connection, no_answer, actor=site_id, at=at)
    connection.execute(update(answer).where(still_asked).values(state=AnswerState.LOST, reason=unanswered))
    outcome = RoundAggregated if state is RoundState.AGGREGATED else RoundVoid
    event = outcome(subject=closed.run_id, number=closed.number, attempt=closed.attempt, phase=closed.phase)
    append(connection, event, actor=COORDINATOR, at=at)


def _figures(connection: Connection, key: Mapping[str, str | int], together: Together | None) -> str:
    """What is kept of the answers that were admitted."""
    counts = last_counts(connection, str(key["run_id"]))
    return to_text(figures_over(admitted(connection, key), counts, together))
