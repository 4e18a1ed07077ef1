"""How attempts and answers stand in rows, and which event tells of which change."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, RowMapping, and_

from server.lifecycle import AnswerState, RoundState, RunState
from server.store.run import Answer, Round, Run
from server.store.schema import answer
from shared.audit.event import Event
from shared.audit.events import (
    AnswerAdmitted,
    AnswerLost,
    AnswerRefused,
    AnswerRejected,
    RunFailed,
    RunFinished,
    RunResumed,
    RunRunning,
    RunStopped,
)
from shared.records import Contribution, Delta, Occasion, Phase
from shared.transfer.blob_ref import BlobRef

ANSWER_EVENTS: Mapping[AnswerState, type[AnswerAdmitted | AnswerRejected | AnswerRefused | AnswerLost]] = {
    AnswerState.ADMITTED: AnswerAdmitted,
    AnswerState.REJECTED: AnswerRejected,
    AnswerState.REFUSED: AnswerRefused,
    AnswerState.LOST: AnswerLost,
}

MOVE_EVENTS: Mapping[RunState, type[RunRunning | RunFinished | RunStopped | RunResumed]] = {
    RunState.SUBMITTED: RunResumed,
    RunState.RUNNING: RunRunning,
    RunState.FINISHED: RunFinished,
    RunState.STOPPED: RunStopped,
}


def to_round(row: RowMapping) -> Round:
    """An attempt from its row."""
    return Round(
        run_id=row["run_id"],
        number=row["number"],
        attempt=row["attempt"],
        phase=Phase(row["phase"]),
        state=RoundState(row["state"]),
        base=BlobRef(digest=row["base_digest"], size_bytes=row["base_bytes"]),
        base_state=blob_of(row, "base_state"),
        aggregate=blob_of(row, "aggregate"),
        opened_at=row["opened_at"],
        deadline=row["deadline"],
        closed_at=row["closed_at"],
        base_delta=delta_of(row),
    )


def to_answer(row: RowMapping) -> Answer:
    """A site's part from its row."""
    return Answer(
        number=row["number"],
        attempt=row["attempt"],
        phase=Phase(row["phase"]),
        site_id=row["site_id"],
        state=AnswerState(row["state"]),
        reason=row["reason"],
        contribution=Contribution.from_bytes(row["payload"].encode()) if row["payload"] else None,
        asked_at=row["asked_at"],
        answered_at=row["answered_at"],
        fetched_at=row["fetched_at"],
        sending_at=row["sending_at"],
    )


def columns_of(name: str, blob: BlobRef | None) -> dict[str, str | int | None]:
    """The two columns of a blob that may be missing."""
    return {
        f"{name}_digest": blob.digest if blob else None,
        f"{name}_bytes": blob.size_bytes if blob else None,
    }


def blob_of(row: RowMapping, name: str) -> BlobRef | None:
    """The blob of two such columns."""
    digest = row[f"{name}_digest"]
    return BlobRef(digest=digest, size_bytes=row[f"{name}_bytes"]) if digest else None


def delta_of(row: RowMapping) -> Delta | None:
    """The shorter way to an attempt's base, if there is one."""
    blob = blob_of(row, "base_delta")
    return Delta(since=row["base_delta_since"], blob=blob) if blob else None


def columns_of_delta(delta: Delta | None) -> dict[str, str | int | None]:
    """The three columns of it."""
    return {
        **columns_of("base_delta", delta.blob if delta else None),
        "base_delta_since": delta.since if delta else None,
    }


def to_run(row: RowMapping) -> Run:
    """A run from its row."""
    values = {name: value for name, value in row.items() if name != "stopped_at"}
    state = RunState.STOPPED if row["stopped_at"] is not None else RunState(row["state"])
    return Run(**{**values, "state": state})


def columns_of_move(state: RunState, *, at: float, failure: str | None) -> dict[str, str | float | None]:
    """What stands in a run's row when it comes to a state."""
    stopped = state is RunState.STOPPED
    columns: dict[str, str | float | None] = {
        "state": RunState.FAILED if stopped else state,
        "stopped_at": at if stopped else None,
        "finished_at": at if state.is_over else None,
        "failure": failure,
    }
    return {**columns, "resumed_at": at} if state is RunState.SUBMITTED else columns


def event_of_move(run_id: str, state: RunState, failure: str | None) -> Event:
    """What the audit log says when a run comes to a state."""
    if state is RunState.FAILED:
        return RunFailed(subject=run_id, reason=failure)
    return MOVE_EVENTS[state](subject=run_id)


def key_of(attempt: Round) -> dict[str, str | int]:
    """What an attempt is found by."""
    return {
        "run_id": attempt.run_id,
        "number": attempt.number,
        "attempt": attempt.attempt,
        "phase": attempt.phase.value,
    }


def answer_of(occasion: Occasion) -> ColumnElement[bool]:
    """Where the answer for an occasion stands."""
    return and_(
        answer.c.run_id == occasion.run_id,
        answer.c.number == occasion.round_number,
        answer.c.attempt == occasion.attempt,
        answer.c.phase == occasion.phase.value,
        answer.c.site_id == occasion.site_id,
    )
