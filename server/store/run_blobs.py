"""Which blobs runs need, and which of them a site is now asked for something with."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Select, and_, exists, func, select

from server.lifecycle import AnswerState, ConsentState, RoundState, RunState
from server.store.schema import ATTEMPT_KEY, answer, consent, round_, run
from shared.records import Phase


def kept_digests(*, finished: Literal["all", "last"]) -> list[Select[Any]]:
    """Of plans, first weights, bases and aggregates with their states; of deltas while they are fetched.

    Parameters
    ----------
    finished
        Which checkpoints of finished runs stay: all, or the last, from which a run can be extended.
    """
    aggregates = (round_.c.aggregate_digest, round_.c.aggregate_state_digest)
    of_rounds = [select(each) for each in (round_.c.base_digest, round_.c.base_state_digest, *aggregates)]
    if finished == "last":
        of_round = round_.alias()
        last = (
            select(func.max(of_round.c.number))
            .where(of_round.c.run_id == round_.c.run_id, of_round.c.aggregate_digest.is_not(None))
            .scalar_subquery()
        )
        is_finished = round_.c.run_id.in_(select(run.c.run_id).where(run.c.state == RunState.FINISHED))
        of_rounds = [
            *(each.where(~is_finished) for each in of_rounds),
            *(select(each).where(is_finished, round_.c.number == last) for each in aggregates),
        ]
    return [
        select(run.c.plan_sha256),
        select(run.c.initial_digest),
        *of_rounds,
        select(round_.c.base_delta_digest).where(round_.c.state == RoundState.OPEN),
    ]


def asked_of(site_id: str) -> Select[tuple[str, int, int, str, str, int, str, str]]:
    """The open attempts that a site is to answer under a plan that it approves, with their blobs."""
    return (
        select(
            round_.c.run_id,
            round_.c.number,
            round_.c.attempt,
            run.c.plan_sha256,
            round_.c.base_digest,
            round_.c.base_bytes,
            round_.c.base_delta_digest,
            round_.c.base_state_digest,
        )
        .join_from(run, round_, run.c.run_id == round_.c.run_id)
        .join(answer, and_(*(answer.c[name] == round_.c[name] for name in ATTEMPT_KEY)))
        .join(consent, and_(consent.c.run_id == run.c.run_id, consent.c.site_id == answer.c.site_id))
        .where(
            answer.c.site_id == site_id,
            answer.c.state == AnswerState.ASKED,
            round_.c.state == RoundState.OPEN,
            consent.c.state == ConsentState.APPROVED,
        )
    )


def waiting_updates() -> Select[tuple[str]]:
    """Contributions that were admitted to rounds that are not over, of runs that go on.

    None of an attempt under secure aggregation: nothing can be made of them without its other exchanges.
    """
    aggregated = (
        select(func.coalesce(func.max(round_.c.number), 0))
        .where(round_.c.run_id == run.c.run_id, round_.c.aggregate_digest.is_not(None))
        .correlate(run)
        .scalar_subquery()
    )
    keys = answer.alias()
    is_masked = exists().where(
        keys.c.phase == Phase.KEYS.value,
        *(keys.c[name] == answer.c[name] for name in ("run_id", "number", "attempt")),
    )
    return (
        select(answer.c.payload)
        .join(run, run.c.run_id == answer.c.run_id)
        .where(
            answer.c.phase == Phase.TRAIN.value,
            answer.c.state == AnswerState.ADMITTED,
            answer.c.number > aggregated,
            ~is_masked,
            run.c.state.in_([RunState.SUBMITTED, RunState.RUNNING]),
        )
    )
