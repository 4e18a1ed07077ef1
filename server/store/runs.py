"""Runs, their rounds and the sites' answers; every change is one transaction with its event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import ColumnElement, Connection, Engine, Select, and_, func, insert, select, update

from server.lifecycle import (
    ANSWER_TRANSITIONS,
    ROUND_TRANSITIONS,
    RUN_TRANSITIONS,
    AnswerState,
    ConsentState,
    RoundState,
    RunState,
    require_transition,
)
from server.store.audit import append
from server.store.run import Answer, Checkpoint, Round, Run
from server.store.schema import answer, consent, round_, run
from shared.audit.event import Event
from shared.audit.events import (
    AnswerAdmitted,
    AnswerLost,
    AnswerRefused,
    AnswerRejected,
    RoundAggregated,
    RoundOpened,
    RoundVoid,
    RunFailed,
    RunFinished,
    RunRunning,
    RunSubmitted,
)
from shared.errors import NotFoundError
from shared.records import Contribution, Occasion, Phase
from shared.store import transaction
from shared.transfer.blob_ref import BlobRef

COORDINATOR = "coordinator"
NO_ANSWER = "no answer"
ANSWER_EVENTS: Mapping[AnswerState, type[AnswerAdmitted | AnswerRejected | AnswerRefused | AnswerLost]] = {
    AnswerState.ADMITTED: AnswerAdmitted,
    AnswerState.REJECTED: AnswerRejected,
    AnswerState.REFUSED: AnswerRefused,
    AnswerState.LOST: AnswerLost,
}


class Runs:
    """The register of runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def submit(self, submitted: Run, *, actor: str) -> None:
        """Record a new run."""
        with transaction(self._engine) as connection:
            connection.execute(insert(run).values(asdict(submitted)))
            event = RunSubmitted(subject=submitted.run_id, plan_sha256=submitted.plan_sha256)
            append(connection, event, actor=actor, at=submitted.created_at)

    def get(self, run_id: str) -> Run:
        """A run by its id.

        Raises
        ------
        NotFoundError
            No run has this id.
        """
        with transaction(self._engine) as connection:
            return _load_run(connection, run_id)

    def all(self) -> list[Run]:
        """Every run, oldest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(select(run).order_by(run.c.created_at)).mappings().all()
        return [Run(**{**row, "state": RunState(row["state"])}) for row in rows]

    def unfinished(self) -> list[Run]:
        """Runs that are neither finished nor failed, oldest first."""
        return [one for one in self.all() if one.state in {RunState.SUBMITTED, RunState.RUNNING}]

    def move(self, run_id: str, state: RunState, *, at: float, failure: str | None = None) -> None:
        """Take a run to another state.

        Raises
        ------
        AggregationError
            The transition is not allowed.
        """
        with transaction(self._engine) as connection:
            require_transition(RUN_TRANSITIONS, _load_run(connection, run_id).state, state)
            ended = state in {RunState.FINISHED, RunState.FAILED}
            connection.execute(
                update(run)
                .where(run.c.run_id == run_id)
                .values(state=state, finished_at=at if ended else None, failure=failure)
            )
            append(connection, _moved(run_id, state, failure), actor=COORDINATOR, at=at)

    def next_attempt(self, run_id: str, number: int, phase: Phase) -> int:
        """The number of the next attempt at a phase of a round, from 1."""
        query = select(func.max(round_.c.attempt)).where(
            round_.c.run_id == run_id, round_.c.number == number, round_.c.phase == phase.value
        )
        with transaction(self._engine) as connection:
            return (connection.execute(query).scalar_one() or 0) + 1

    def void_open_rounds(self, run_id: str, *, at: float) -> None:
        """Close attempts that an interrupted process left open."""
        for left in self.rounds(run_id):
            if left.state is RoundState.OPEN:
                self.close_round(left, None, state=RoundState.VOID, at=at)

    def open_round(self, opened: Round, cohort: Sequence[str]) -> None:
        """Record an attempt and the sites that it asks, before any of them is asked."""
        key = _key(opened)
        with transaction(self._engine) as connection:
            connection.execute(
                insert(round_).values(
                    **key,
                    state=opened.state,
                    base_digest=opened.base.digest,
                    base_bytes=opened.base.size_bytes,
                    opened_at=opened.opened_at,
                    deadline=opened.deadline,
                )
            )
            rows = [
                {**key, "site_id": site_id, "state": AnswerState.ASKED, "asked_at": opened.opened_at}
                for site_id in cohort
            ]
            connection.execute(insert(answer), rows)
            event = RoundOpened(
                subject=opened.run_id,
                number=opened.number,
                attempt=opened.attempt,
                phase=opened.phase,
                cohort=tuple(cohort),
            )
            append(connection, event, actor=COORDINATOR, at=opened.opened_at)

    def record_answer(
        self,
        occasion: Occasion,
        state: AnswerState,
        *,
        at: float,
        reason: str | None = None,
        envelope: bytes | None = None,
        contribution: Contribution | None = None,
    ) -> None:
        """Record what became of one site's part.

        Raises
        ------
        AggregationError
            The site was not asked, or has already answered.
        """
        where = _answer_of(occasion)
        with transaction(self._engine) as connection:
            old = connection.execute(select(answer.c.state).where(where)).scalar_one()
            require_transition(ANSWER_TRANSITIONS, AnswerState(old), state)
            connection.execute(
                update(answer)
                .where(where)
                .values(
                    state=state,
                    reason=reason,
                    envelope=envelope,
                    payload=contribution.to_bytes().decode() if contribution else None,
                    answered_at=at,
                )
            )
            event = ANSWER_EVENTS[state](
                subject=occasion.run_id,
                number=occasion.round_number,
                attempt=occasion.attempt,
                phase=occasion.phase,
                reason=reason,
            )
            append(connection, event, actor=occasion.site_id, at=at)

    def close_round(self, closed: Round, aggregate: BlobRef | None, *, state: RoundState, at: float) -> None:
        """Close an attempt; sites that have not answered are lost to it.

        Raises
        ------
        AggregationError
            The attempt is not open.
        """
        key = _key(closed)
        of_round = and_(*(round_.c[name] == value for name, value in key.items()))
        of_answer = and_(*(answer.c[name] == value for name, value in key.items()))
        with transaction(self._engine) as connection:
            old = connection.execute(select(round_.c.state).where(of_round)).scalar_one()
            require_transition(ROUND_TRANSITIONS, RoundState(old), state)
            connection.execute(
                update(round_)
                .where(of_round)
                .values(
                    state=state,
                    closed_at=at,
                    aggregate_digest=aggregate.digest if aggregate else None,
                    aggregate_bytes=aggregate.size_bytes if aggregate else None,
                )
            )
            unanswered = and_(of_answer, answer.c.state == AnswerState.ASKED)
            lost = select(answer.c.site_id).where(unanswered).order_by(answer.c.site_id)
            for site_id in connection.execute(lost).scalars().all():
                no_answer = AnswerLost(
                    subject=closed.run_id,
                    number=closed.number,
                    attempt=closed.attempt,
                    phase=closed.phase,
                    reason=NO_ANSWER,
                )
                append(connection, no_answer, actor=site_id, at=at)
            connection.execute(
                update(answer).where(unanswered).values(state=AnswerState.LOST, reason=NO_ANSWER)
            )
            outcome = RoundAggregated if state is RoundState.AGGREGATED else RoundVoid
            event = outcome(
                subject=closed.run_id, number=closed.number, attempt=closed.attempt, phase=closed.phase
            )
            append(connection, event, actor=COORDINATOR, at=at)

    def last_checkpoint(self, run_id: str) -> Checkpoint | None:
        """The weights of the last finished training round."""
        query = (
            select(round_.c.number, round_.c.aggregate_digest, round_.c.aggregate_bytes)
            .where(round_.c.run_id == run_id, round_.c.aggregate_digest.is_not(None))
            .order_by(round_.c.number.desc())
            .limit(1)
        )
        with transaction(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        number, digest, size_bytes = row
        return Checkpoint(number=number, weights=BlobRef(digest=digest, size_bytes=size_bytes))

    def rounds(self, run_id: str) -> list[Round]:
        """Every attempt of a run, in order of opening."""
        query = select(round_).where(round_.c.run_id == run_id).order_by(round_.c.opened_at)
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Round(
                run_id=row["run_id"],
                number=row["number"],
                attempt=row["attempt"],
                phase=Phase(row["phase"]),
                state=RoundState(row["state"]),
                base=BlobRef(digest=row["base_digest"], size_bytes=row["base_bytes"]),
                aggregate=(
                    BlobRef(digest=row["aggregate_digest"], size_bytes=row["aggregate_bytes"])
                    if row["aggregate_digest"]
                    else None
                ),
                opened_at=row["opened_at"],
                deadline=row["deadline"],
                closed_at=row["closed_at"],
            )
            for row in rows
        ]

    def answers(self, run_id: str) -> list[Answer]:
        """Every site's part in a run, by round and site."""
        query = (
            select(answer)
            .where(answer.c.run_id == run_id)
            .order_by(answer.c.number, answer.c.attempt, answer.c.site_id)
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Answer(
                number=row["number"],
                attempt=row["attempt"],
                phase=Phase(row["phase"]),
                site_id=row["site_id"],
                state=AnswerState(row["state"]),
                reason=row["reason"],
                contribution=Contribution.from_bytes(row["payload"].encode()) if row["payload"] else None,
                asked_at=row["asked_at"],
                answered_at=row["answered_at"],
            )
            for row in rows
        ]

    def digests(self) -> frozenset[str]:
        """Every blob that is a run's plan, or the base or aggregate of a round."""
        columns = (run.c.plan_sha256, round_.c.base_digest, round_.c.aggregate_digest)
        with transaction(self._engine) as connection:
            return frozenset(
                digest
                for column in columns
                for digest in connection.execute(select(column)).scalars()
                if digest
            )

    def may_fetch(self, site_id: str, digest: str) -> bool:
        """Whether a site is now asked for something that needs this blob: the plan or the base weights.

        A site that has not approved the run's plan, or takes its approval back, may fetch nothing.
        """
        with transaction(self._engine) as connection:
            rows = connection.execute(_asked_of(site_id)).all()
        return any(digest in {row.plan_sha256, row.base_digest} for row in rows)

    def largest_expected(self, site_id: str) -> int:
        """Size in bytes of the largest base that the site is now asked to train on; 0 if it is not asked."""
        with transaction(self._engine) as connection:
            trains = _asked_of(site_id).where(round_.c.phase == Phase.TRAIN.value)
            rows = connection.execute(trains).all()
        return max((row.base_bytes for row in rows), default=0)


def _asked_of(site_id: str) -> Select[tuple[str, str, int]]:
    return (
        select(run.c.plan_sha256, round_.c.base_digest, round_.c.base_bytes)
        .join_from(run, round_, run.c.run_id == round_.c.run_id)
        .join(
            answer,
            and_(
                answer.c.run_id == round_.c.run_id,
                answer.c.number == round_.c.number,
                answer.c.attempt == round_.c.attempt,
                answer.c.phase == round_.c.phase,
            ),
        )
        .join(consent, and_(consent.c.run_id == run.c.run_id, consent.c.site_id == answer.c.site_id))
        .where(
            answer.c.site_id == site_id,
            answer.c.state == AnswerState.ASKED,
            round_.c.state == RoundState.OPEN,
            consent.c.state == ConsentState.APPROVED,
        )
    )


def _moved(run_id: str, state: RunState, failure: str | None) -> Event:
    if state is RunState.RUNNING:
        return RunRunning(subject=run_id)
    return (
        RunFinished(subject=run_id)
        if state is RunState.FINISHED
        else RunFailed(subject=run_id, reason=failure)
    )


def _load_run(connection: Connection, run_id: str) -> Run:
    row = connection.execute(select(run).where(run.c.run_id == run_id)).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"There is no run '{run_id}'.", "`mammofed-coordinator run list` shows all.")
    return Run(**{**row, "state": RunState(row["state"])})


def _key(attempt: Round) -> dict[str, str | int]:
    return {
        "run_id": attempt.run_id,
        "number": attempt.number,
        "attempt": attempt.attempt,
        "phase": attempt.phase.value,
    }


def _answer_of(occasion: Occasion) -> ColumnElement[bool]:
    return and_(
        answer.c.run_id == occasion.run_id,
        answer.c.number == occasion.round_number,
        answer.c.attempt == occasion.attempt,
        answer.c.phase == occasion.phase.value,
        answer.c.site_id == occasion.site_id,
    )
