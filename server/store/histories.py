"""The training rounds of a run as pages show them: few numbers of many answers.

Reads neither contributions nor envelopes of what is closed, so that a run of hundreds of rounds and sites is
shown at once. What was recorded before figures were kept is worked out as it is read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, Select, and_, func, select

from server.lifecycle import AnswerState, RoundState
from server.store.figures import NONE, Figures, figures_of, figures_over, from_text
from server.store.outcomes import last_counts
from server.store.run import Answer, Round
from server.store.run_rows import key_of, to_answer, to_round
from server.store.schema import answer, round_
from shared.evaluation.together import Together
from shared.records import Contribution, Phase
from shared.store import transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundHistory:
    """The last attempt of one training round; `figures` are over all sites that have answered so far."""

    number: int
    attempt: int
    state: RoundState
    opened_at: float
    closed_at: float | None
    num_asked: int
    num_admitted: int
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnedAway:
    """A site's part in an attempt that was rejected, or that it refused, and why."""

    site_id: str
    number: int
    attempt: int
    state: AnswerState
    reason: str


class Histories:
    """Reads the register of runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def rounds(self, run_id: str) -> list[RoundHistory]:
        """Every training round that was opened, by number."""
        query = (
            select(round_)
            .where(round_.c.run_id == run_id, round_.c.phase == Phase.TRAIN.value)
            .order_by(round_.c.number, round_.c.attempt)
        )
        with transaction(self._engine) as connection:
            latest = {row["number"]: dict(row) for row in connection.execute(query).mappings()}
            counts = _counts(connection, run_id)
            return [
                RoundHistory(
                    number=number,
                    attempt=row["attempt"],
                    state=RoundState(row["state"]),
                    opened_at=row["opened_at"],
                    closed_at=row["closed_at"],
                    num_asked=sum(counts[number, row["attempt"]].values()),
                    num_admitted=counts[number, row["attempt"]].get(AnswerState.ADMITTED, 0),
                    figures=_figures_over(connection, row),
                )
                for number, row in latest.items()
            ]

    def of_sites(self, run_id: str, site_ids: Sequence[str]) -> Mapping[str, Mapping[int, Figures]]:
        """The figures of some sites by number of the round, of its last attempt."""
        query = (
            _last_answers(run_id, answer.c.figures, answer.c.payload)
            .where(answer.c.site_id.in_(site_ids))
            .order_by(answer.c.number)
        )
        with transaction(self._engine) as connection:
            told: dict[str, dict[int, Figures]] = {site_id: {} for site_id in site_ids}
            for row in connection.execute(query).mappings():
                told[row["site_id"]][row["number"]] = _figures_of(row)
        return told

    def states(self, run_id: str, *, from_number: int) -> Mapping[str, list[tuple[int, AnswerState]]]:
        """What became of each site in the last attempt of each round from one on, by site id."""
        query = (
            _last_answers(run_id, answer.c.state)
            .where(answer.c.number >= from_number)
            .order_by(answer.c.number)
        )
        with transaction(self._engine) as connection:
            lanes: dict[str, list[tuple[int, AnswerState]]] = {}
            for row in connection.execute(query).mappings():
                lanes.setdefault(row["site_id"], []).append((row["number"], AnswerState(row["state"])))
        return lanes

    def turned_away(self, run_id: str, *, at_most: int) -> list[TurnedAway]:
        """The last rejections and refusals of all attempts at training, the newest first."""
        states = (AnswerState.REJECTED, AnswerState.REFUSED)
        query = (
            select(answer.c.site_id, answer.c.number, answer.c.attempt, answer.c.state, answer.c.reason)
            .where(_trains(run_id), answer.c.state.in_(states))
            .order_by(answer.c.number.desc(), answer.c.attempt.desc(), answer.c.site_id)
            .limit(at_most)
        )
        with transaction(self._engine) as connection:
            return [
                TurnedAway(**{**row, "state": AnswerState(row["state"]), "reason": row["reason"] or ""})
                for row in connection.execute(query).mappings()
            ]

    def sites_of(self, run_id: str) -> list[str]:
        """Ids of the sites that were asked to train in a run."""
        query = select(answer.c.site_id).where(_trains(run_id)).distinct().order_by(answer.c.site_id)
        with transaction(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def answers_of(self, attempt: Round) -> list[Answer]:
        """Every site's part in one attempt, by site."""
        key = key_of(attempt)
        query = (
            select(answer)
            .where(*(answer.c[name] == value for name, value in key.items()))
            .order_by(answer.c.site_id)
        )
        with transaction(self._engine) as connection:
            return [to_answer(row) for row in connection.execute(query).mappings()]

    def together(
        self, run_id: str, phase: Phase, numbers: Collection[int] | None = None
    ) -> Mapping[int, Together]:
        """What sites told in aggregate only, by number of the round, of these or of all that came about."""
        query = select(round_.c.number, round_.c.together).where(
            round_.c.run_id == run_id, round_.c.phase == phase.value, round_.c.together.is_not(None)
        )
        if numbers is not None:
            query = query.where(round_.c.number.in_(numbers))
        with transaction(self._engine) as connection:
            rows = connection.execute(query).all()
        return {row.number: Together.model_validate_json(row.together) for row in rows}

    def last_attempt(self, run_id: str, phase: Phase, number: int | None = None) -> Round | None:
        """The last attempt at a round, or at the last round, in a phase; None while there is none."""
        query = (
            select(round_)
            .where(round_.c.run_id == run_id, round_.c.phase == phase.value)
            .order_by(round_.c.number.desc(), round_.c.attempt.desc())
            .limit(1)
        )
        if number is not None:
            query = query.where(round_.c.number == number)
        with transaction(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else to_round(row)


def _trains(run_id: str) -> ColumnElement[bool]:
    return and_(answer.c.run_id == run_id, answer.c.phase == Phase.TRAIN.value)


def _last_answers(run_id: str, *columns: ColumnElement[str]) -> Select[tuple[str, int]]:
    """Answers in the last attempt of each training round."""
    last = (
        select(round_.c.number, func.max(round_.c.attempt).label("attempt"))
        .where(round_.c.run_id == run_id, round_.c.phase == Phase.TRAIN.value)
        .group_by(round_.c.number)
        .subquery()
    )
    return (
        select(answer.c.site_id, answer.c.number, *columns)
        .join(last, and_(answer.c.number == last.c.number, answer.c.attempt == last.c.attempt))
        .where(_trains(run_id))
    )


def _counts(connection: Connection, run_id: str) -> Mapping[tuple[int, int], Mapping[AnswerState, int]]:
    """Answers in each state, by round and attempt."""
    query = (
        select(answer.c.number, answer.c.attempt, answer.c.state, func.count().label("num"))
        .where(_trains(run_id))
        .group_by(answer.c.number, answer.c.attempt, answer.c.state)
    )
    counts: dict[tuple[int, int], dict[AnswerState, int]] = {}
    for row in connection.execute(query):
        counts.setdefault((row.number, row.attempt), {})[AnswerState(row.state)] = row.num
    return counts


def _figures_over(connection: Connection, attempt: Mapping[str, Any]) -> Figures:
    if attempt["figures"] is not None:
        return from_text(attempt["figures"])
    return figures_over(admitted(connection, attempt), last_counts(connection, attempt["run_id"]))


def admitted(connection: Connection, attempt: Mapping[str, Any]) -> list[Contribution]:
    """What was let in of an attempt so far, by site id."""
    query = (
        select(answer.c.payload)
        .where(
            *(answer.c[name] == attempt[name] for name in ("run_id", "number", "attempt", "phase")),
            answer.c.state == AnswerState.ADMITTED,
        )
        .order_by(answer.c.site_id)
    )
    return [Contribution.from_bytes(text.encode()) for text in connection.execute(query).scalars()]


def _figures_of(row: RowMapping) -> Figures:
    if row["figures"] is not None:
        return from_text(row["figures"])
    return figures_of(Contribution.from_bytes(row["payload"].encode())) if row["payload"] else NONE
