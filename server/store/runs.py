"""Runs, their rounds and the sites' answers; every change is one transaction with its event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from sqlalchemy import Connection, Engine, and_, func, insert, select, update

from server.lifecycle import (
    ANSWER_TRANSITIONS,
    RUN_TRANSITIONS,
    AnswerState,
    RoundState,
    RunState,
    require_transition,
)
from server.store.attempts import close_round, load_rounds, void_open_rounds
from server.store.audit import COORDINATOR, append
from server.store.figures import figures_of, to_text
from server.store.run import (
    INTERRUPTED,
    NO_ANSWER,
    STOPPED,
    Answer,
    Checkpoint,
    ExpectedUpdate,
    Round,
    Run,
    Timing,
)
from server.store.run_blobs import asked_of, kept_digests, waiting_updates
from server.store.run_rows import (
    ANSWER_EVENTS,
    answer_of,
    blob_of,
    columns_of,
    columns_of_delta,
    columns_of_move,
    event_of_move,
    key_of,
    to_answer,
    to_run,
)
from server.store.schema import ATTEMPT_KEY, answer, round_, run
from shared.audit.events import RoundOpened, RunSubmitted
from shared.audit.log import take_write_lock
from shared.errors import AggregationError, NotFoundError
from shared.evaluation.together import Together
from shared.records import Contribution, Occasion, Phase
from shared.store import transaction


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
        return [to_run(row) for row in rows]

    def unfinished(self) -> list[Run]:
        """Runs that are not over, oldest first."""
        return [one for one in self.all() if not one.state.is_over]

    def stop(self, run_id: str, *, actor: str, at: float) -> None:
        """End a run and the attempts that are open in it. Raises AggregationError if it is over."""
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            _move(connection, run_id, RunState.STOPPED, at=at, actor=actor)
            void_open_rounds(connection, run_id, at=at, unanswered=STOPPED)

    def resume(self, run_id: str, *, actor: str, at: float) -> None:
        """Let a run go on that was stopped or has failed; one that is not over goes on as it does.

        Raises AggregationError if it is finished.
        """
        if self.get(run_id).state.is_over:
            self.move(run_id, RunState.SUBMITTED, at=at, actor=actor)

    def move(
        self,
        run_id: str,
        state: RunState,
        *,
        at: float,
        failure: str | None = None,
        actor: str = COORDINATOR,
    ) -> None:
        """Take a run to another state.

        Raises
        ------
        AggregationError
            The transition is not allowed.
        """
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            _move(connection, run_id, state, at=at, actor=actor, failure=failure)

    def next_attempt(self, run_id: str, number: int, phase: Phase) -> int:
        """The number of the next attempt at a phase of a round, from 1."""
        query = select(func.max(round_.c.attempt)).where(
            round_.c.run_id == run_id, round_.c.number == number, round_.c.phase == phase.value
        )
        with transaction(self._engine) as connection:
            return (connection.execute(query).scalar_one() or 0) + 1

    def void_open_rounds(self, run_id: str, *, at: float) -> None:
        """Close attempts that an interrupted process left open."""
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            void_open_rounds(connection, run_id, at=at, unanswered=INTERRUPTED)

    def open_round(self, opened: Round, cohort: Sequence[str], *, carried: Sequence[Answer] = ()) -> None:
        """Record an attempt and the sites that it asks, before any of them is asked.

        Parameters
        ----------
        carried
            Answers to the attempt before that count in this one, as they are: a site's signature stays that
            of the occasion at which it signed.

        Raises
        ------
        AggregationError
            The run is over.
        """
        key = key_of(opened)
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            if (state := _load_run(connection, opened.run_id).state).is_over:
                raise AggregationError(f"The run is {state.value}.", "`run resume` lets it go on.")
            connection.execute(
                insert(round_).values(
                    **key,
                    state=opened.state,
                    base_digest=opened.base.digest,
                    base_bytes=opened.base.size_bytes,
                    **columns_of_delta(opened.base_delta),
                    **columns_of("base_state", opened.base_state),
                    opened_at=opened.opened_at,
                    deadline=opened.deadline,
                )
            )
            rows = [
                {**key, "site_id": site_id, "state": AnswerState.ASKED, "asked_at": opened.opened_at}
                for site_id in cohort
            ]
            if rows:
                connection.execute(insert(answer), rows)
            for each in carried:
                _carry(connection, each, into=opened)
            event = RoundOpened(
                subject=opened.run_id,
                number=opened.number,
                attempt=opened.attempt,
                phase=opened.phase,
                cohort=tuple(cohort),
                carried=tuple(each.site_id for each in carried),
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
        where, trains = answer_of(occasion), occasion.phase is Phase.TRAIN
        with transaction(self._engine) as connection:
            take_write_lock(connection)
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
                    figures=to_text(figures_of(contribution)) if contribution and trains else None,
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

    def close_round(
        self,
        closed: Round,
        aggregate: Checkpoint | None,
        *,
        state: RoundState,
        at: float,
        together: Together | None = None,
    ) -> None:
        """Close an attempt; sites that have not answered are lost to it.

        What its sites tell in aggregate only stands in `together`; it is None where each tells its metrics.

        Raises
        ------
        AggregationError
            The attempt is not open.
        """
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            close_round(
                connection,
                closed,
                aggregate,
                state=state,
                at=at,
                unanswered=NO_ANSWER,
                together=together,
            )

    def last_checkpoint(self, run_id: str) -> Checkpoint | None:
        """The weights of the last finished training round."""
        query = (
            select(round_)
            .where(round_.c.run_id == run_id, round_.c.aggregate_digest.is_not(None))
            .order_by(round_.c.number.desc())
            .limit(1)
        )
        with transaction(self._engine) as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            return None
        weights, state = blob_of(row, "aggregate"), blob_of(row, "aggregate_state")
        assert weights is not None
        assert state is not None
        return Checkpoint(number=row["number"], weights=weights, state=state)

    def rounds(self, run_id: str) -> list[Round]:
        """Every attempt of a run, in order of opening."""
        with transaction(self._engine) as connection:
            return load_rounds(connection, run_id)

    def answers(self, run_id: str, phase: Phase | None = None) -> list[Answer]:
        """Every site's part in a run, or in the exchanges of one phase, by round and site."""
        query = (
            select(answer)
            .where(answer.c.run_id == run_id)
            .order_by(answer.c.number, answer.c.attempt, answer.c.site_id)
        )
        if phase is not None:
            query = query.where(answer.c.phase == phase.value)
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [to_answer(row) for row in rows]

    def last_admitted(self, run_id: str, number: int, phase: Phase) -> list[Answer]:
        """The answers that were admitted to the last attempt at a phase of a round, by site."""
        of_phase = and_(answer.c.run_id == run_id, answer.c.number == number, answer.c.phase == phase.value)
        last = select(func.max(answer.c.attempt)).where(of_phase).scalar_subquery()
        query = (
            select(answer)
            .where(of_phase, answer.c.attempt == last, answer.c.state == AnswerState.ADMITTED)
            .order_by(answer.c.site_id)
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [to_answer(row) for row in rows]

    def timings(self, run_id: str) -> list[Timing]:
        """When the sites of a run were asked and what came of it, in order of asking."""
        columns = (
            answer.c[name] for name in ("site_id", "phase", "state", "reason", "asked_at", "answered_at")
        )
        query = (
            select(*columns, round_.c.deadline, round_.c.closed_at)
            .join(round_, and_(*(answer.c[name] == round_.c[name] for name in ATTEMPT_KEY)))
            .where(answer.c.run_id == run_id)
            .order_by(answer.c.asked_at)
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Timing(**{**row, "phase": Phase(row["phase"]), "state": AnswerState(row["state"])})
            for row in rows
        ]

    def digests(self, *, finished: Literal["all", "last"] = "all") -> frozenset[str]:
        """Every blob that is a run's plan, or the base or aggregate of a round with its strategy's state.

        Of deltas those that sites may fetch now: of open attempts. See `run_blobs.kept_digests`.
        """
        queries = kept_digests(finished=finished)
        with transaction(self._engine) as connection:
            return frozenset(
                digest for query in queries for digest in connection.execute(query).scalars() if digest
            )

    def waiting_updates(self) -> frozenset[str]:
        """The sites' blobs that were admitted to rounds which are not over, of runs that go on."""
        with transaction(self._engine) as connection:
            rows = connection.execute(waiting_updates()).all()
        updates = (Contribution.from_bytes(row.payload.encode()).update for row in rows)
        return frozenset(update.digest for update in updates if update is not None)

    def may_fetch(self, site_id: str, digest: str) -> bool:
        """Whether a site is now asked for something that needs this blob: plan, base, delta or state.

        A site that has not approved the run's plan, or takes its approval back, may fetch nothing.
        """
        with transaction(self._engine) as connection:
            rows = connection.execute(asked_of(site_id)).all()
        return any(
            digest in {row.plan_sha256, row.base_digest, row.base_delta_digest, row.base_state_digest}
            for row in rows
        )

    def expected_updates(self, site_id: str) -> list[ExpectedUpdate]:
        """One for each open attempt in which the site is asked to train.

        There is more than one while a run that was interrupted waits to be taken up and another goes on.
        """
        with transaction(self._engine) as connection:
            trains = asked_of(site_id).where(round_.c.phase == Phase.TRAIN.value)
            rows = connection.execute(trains).all()
        return [
            ExpectedUpdate(attempt=(row.run_id, row.number, row.attempt), base_bytes=row.base_bytes)
            for row in rows
        ]


def _load_run(connection: Connection, run_id: str) -> Run:
    row = connection.execute(select(run).where(run.c.run_id == run_id)).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"There is no run '{run_id}'.", "`mammofed-coordinator run list` shows all.")
    return to_run(row)


def _carry(connection: Connection, carried: Answer, *, into: Round) -> None:
    """Copy an answer from its own attempt at a round into another."""
    key = key_of(into)
    of_answer = and_(
        answer.c.site_id == carried.site_id,
        *(answer.c[name] == value for name, value in {**key, "attempt": carried.attempt}.items()),
    )
    row = connection.execute(select(answer).where(of_answer)).mappings().one()
    connection.execute(insert(answer).values(**{**row, **key}))


def _move(
    connection: Connection,
    run_id: str,
    state: RunState,
    *,
    at: float,
    actor: str,
    failure: str | None = None,
) -> None:
    require_transition(RUN_TRANSITIONS, _load_run(connection, run_id).state, state)
    columns = columns_of_move(state, at=at, failure=failure)
    connection.execute(update(run).where(run.c.run_id == run_id).values(**columns))
    append(connection, event_of_move(run_id, state, failure), actor=actor, at=at)
