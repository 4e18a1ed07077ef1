"""What went wrong in runs of late, and how the model did, as alerts are judged from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Engine, and_, case, func, select

from server.lifecycle import AnswerState, RoundState, RunState
from server.monitoring.facts import FailedAttempt, FailedRun, RejectedAnswer
from server.store.run import INTERRUPTED, STOPPED
from server.store.schema import ATTEMPT_KEY, answer, round_, run, site
from shared.evaluation.records import Evaluation
from shared.records import Contribution, Phase
from shared.store import transaction

_OF_ATTEMPT = and_(*(answer.c[name] == round_.c[name] for name in ATTEMPT_KEY))


class Troubles:
    """Reads the register of runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def failed_runs(self, *, since: float) -> list[FailedRun]:
        """Runs that have failed since then; one that a person stopped has not."""
        query = select(run.c.run_id, run.c.name, run.c.finished_at.label("failed_at")).where(
            run.c.state == RunState.FAILED, run.c.stopped_at.is_(None), run.c.finished_at >= since
        )
        with transaction(self._engine) as connection:
            return [FailedRun(**row) for row in connection.execute(query).mappings()]

    def failed_attempts(self, *, since: float) -> list[FailedAttempt]:
        """Attempts that closed since then without a result; those that were cut off did not fail."""
        num_admitted = func.sum(case((answer.c.state == AnswerState.ADMITTED, 1), else_=0))
        num_cut_off = func.sum(case((answer.c.reason.in_((STOPPED, INTERRUPTED)), 1), else_=0))
        columns = (
            *(round_.c[name] for name in ATTEMPT_KEY),
            round_.c.closed_at,
            run.c.name.label("run_name"),
        )
        query = (
            select(*columns, func.count().label("num_asked"), num_admitted.label("num_admitted"))
            .join(answer, _OF_ATTEMPT)
            .join(run, run.c.run_id == round_.c.run_id)
            .where(round_.c.state == RoundState.VOID, round_.c.closed_at >= since)
            .group_by(*columns)
            .having(num_cut_off == 0)
            .order_by(round_.c.closed_at)
        )
        with transaction(self._engine) as connection:
            return [FailedAttempt(**row) for row in connection.execute(query).mappings()]

    def rejected(self, *, since: float) -> list[RejectedAnswer]:
        """Contributions that were not let in since then."""
        query = (
            select(
                *(answer.c[name] for name in ATTEMPT_KEY),
                answer.c.site_id,
                answer.c.answered_at.label("rejected_at"),
                run.c.name.label("run_name"),
                site.c.name.label("site_name"),
            )
            .join(run, run.c.run_id == answer.c.run_id)
            .join(site, site.c.site_id == answer.c.site_id)
            .where(answer.c.state == AnswerState.REJECTED, answer.c.answered_at >= since)
            .order_by(answer.c.answered_at)
        )
        with transaction(self._engine) as connection:
            return [RejectedAnswer(**row) for row in connection.execute(query).mappings()]

    def aggregated(self, run_id: str, *, most: int) -> list[int]:
        """Numbers of the last training rounds that are in a checkpoint, oldest first."""
        query = (
            select(round_.c.number)
            .where(
                round_.c.run_id == run_id,
                round_.c.phase == Phase.TRAIN.value,
                round_.c.state == RoundState.AGGREGATED,
            )
            .order_by(round_.c.number.desc())
            .limit(most)
        )
        with transaction(self._engine) as connection:
            return sorted(connection.execute(query).scalars())

    def evaluations(self, run_id: str, numbers: Collection[int]) -> dict[int, Sequence[Evaluation]]:
        """What sites told of the weights that these rounds began with, by round that is in a checkpoint."""
        query = (
            select(answer.c.number, answer.c.payload)
            .join(round_, _OF_ATTEMPT)
            .where(
                answer.c.run_id == run_id,
                answer.c.number.in_(numbers),
                answer.c.phase == Phase.TRAIN.value,
                answer.c.state == AnswerState.ADMITTED,
                round_.c.state == RoundState.AGGREGATED,
            )
        )
        with transaction(self._engine) as connection:
            rows = connection.execute(query).all()
        told: dict[int, list[Evaluation]] = {number: [] for number in numbers}
        for row in rows:
            evaluation = Contribution.from_bytes(row.payload.encode()).evaluation
            if evaluation is not None:
                told[row.number].append(evaluation)
        return {number: tuple(each) for number, each in told.items()}

    def num_attempts(self) -> dict[RoundState, int]:
        """How many attempts at rounds there were, by state."""
        query = select(round_.c.state, func.count().label("num")).group_by(round_.c.state)
        with transaction(self._engine) as connection:
            return {RoundState(row.state): row.num for row in connection.execute(query)}

    def num_answers(self) -> dict[AnswerState, int]:
        """How many parts in attempts sites had, by state."""
        query = select(answer.c.state, func.count().label("num")).group_by(answer.c.state)
        with transaction(self._engine) as connection:
            return {AnswerState(row.state): row.num for row in connection.execute(query)}
