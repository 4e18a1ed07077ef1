"""How long a run will take and what it will move, by a past run of the same network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from server.coordinator import Coordinator
from server.lifecycle import AnswerState, RoundState
from server.store import Answer, Round, Run
from shared.plan import Plan
from shared.records import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRounds:
    """What finished rounds of a run have cost.

    Attributes
    ----------
    round_s
        Median from opening to closing.
    num_epochs
        Local epochs in each of them.
    down_bytes, up_bytes
        Of one site in one round: weights or what has changed of them, and its update.
    """

    run_id: str
    run_name: str
    num_rounds: int
    round_s: float
    num_epochs: int
    down_bytes: float
    up_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a plan will cost: seconds in all, and bytes of all sites in all rounds."""

    past: PastRounds
    seconds: float
    down_bytes: float
    up_bytes: float


def estimate(plan: Plan, past: PastRounds, *, num_sites: int) -> Estimate:
    """Rounds take as long as epochs do; bytes are those of the same network, whatever it is trained on."""
    rounds = plan.rounds.count
    return Estimate(
        past=past,
        seconds=past.round_s * rounds * plan.training.local_epochs / past.num_epochs,
        down_bytes=past.down_bytes * rounds * num_sites,
        up_bytes=past.up_bytes * rounds * num_sites,
    )


def past_rounds(plan: Plan, coordinator: Coordinator) -> PastRounds | None:
    """The newest run whose network and updates are those of a plan; None if no round of one is finished."""
    for run in reversed(coordinator.runs.all()):
        if _costs_the_same(Plan.from_toml(run.plan_toml), plan):
            attempts = coordinator.runs.rounds(run.run_id)
            finished = [each for each in attempts if _is_finished(each)]
            if finished:
                return _past(run, finished, coordinator.histories.answers_of(finished[-1]))
    return None


def _costs_the_same(one: Plan, other: Plan) -> bool:
    return (one.model, one.aggregation.bits, one.aggregation.compression) == (
        other.model,
        other.aggregation.bits,
        other.aggregation.compression,
    )


def _is_finished(attempt: Round) -> bool:
    return attempt.phase is Phase.TRAIN and attempt.state is RoundState.AGGREGATED


def _past(run: Run, finished: Sequence[Round], last: Sequence[Answer]) -> PastRounds:
    updates = [
        each.contribution.update.size_bytes
        for each in last
        if each.state is AnswerState.ADMITTED and each.contribution and each.contribution.update
    ]
    return PastRounds(
        run_id=run.run_id,
        run_name=run.name,
        num_rounds=len(finished),
        round_s=median(each.closed_at - each.opened_at for each in finished if each.closed_at is not None),
        num_epochs=Plan.from_toml(run.plan_toml).training.local_epochs,
        down_bytes=fmean(
            each.base_delta.blob.size_bytes if each.base_delta else each.base.size_bytes for each in finished
        ),
        up_bytes=fmean(updates) if updates else 0.0,
    )
