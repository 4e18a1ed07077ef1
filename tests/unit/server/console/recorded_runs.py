"""Runs as the store has them after so many rounds, recorded at once and without any training."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from sqlalchemy import insert

from server.coordinator import Coordinator
from server.lifecycle import AnswerState, RoundState, RunState
from server.store import Run
from server.store.schema import answer, round_
from shared.evaluation.records import Evaluation, Moments, PercentDensity, SegmentMoments
from shared.plan import METRIC_NAMES, MetricName, ModelPlan, Plan, RoundsPlan
from shared.records import Contribution, Occasion, Phase
from shared.store import transaction
from shared.transfer.blob_ref import BlobRef

ROUND_S = 75.0


def plan_of(rounds: int, metrics: Sequence[MetricName] = METRIC_NAMES) -> Plan:
    return Plan(
        name="density",
        metrics=tuple(metrics),
        rounds=RoundsPlan(count=rounds),
        model=ModelPlan(size="tiny", input_height_px=64, input_width_px=64),
    )


def submit_run(coordinator: Coordinator, plan: Plan, run_id: str = "run-1") -> Run:
    run = Run.under(plan, run_id=run_id, created_at=time.time())
    coordinator.runs.submit(run, actor="person:otto")
    return run


def record_run(
    coordinator: Coordinator,
    plan: Plan,
    *,
    done: int,
    run_id: str = "run-1",
    lost: frozenset[tuple[int, str]] = frozenset(),
) -> Run:
    """A running run with so many rounds in its checkpoints and one more that is open.

    Parameters
    ----------
    lost
        Rounds and sites whose answer never came.
    """
    run = submit_run(coordinator, plan, run_id)
    coordinator.runs.move(run_id, RunState.RUNNING, at=run.created_at)
    sites = coordinator.federation.active()
    draw = random.Random(7)
    rounds, answers = [], []
    for number in range(1, done + 2):
        is_open = number > done
        opened_at = run.created_at + (number - 1) * ROUND_S
        key = {"run_id": run_id, "number": number, "attempt": 1, "phase": Phase.TRAIN.value}
        rounds.append(
            {
                **key,
                "state": RoundState.OPEN if is_open else RoundState.AGGREGATED,
                "base_digest": "0" * 64,
                "base_bytes": 7,
                "opened_at": opened_at,
                "deadline": opened_at + 3_600,
                "closed_at": None if is_open else opened_at + ROUND_S,
            }
        )
        for place, site in enumerate(sites):
            state = AnswerState.ASKED if is_open else AnswerState.ADMITTED
            if (number, site.name) in lost:
                state = AnswerState.LOST
            told = state is AnswerState.ADMITTED
            loss = 0.25 + 0.9 / number**0.6 + 0.03 * place + draw.uniform(-0.02, 0.02)
            answers.append(
                {
                    **key,
                    "site_id": site.site_id,
                    "state": state,
                    "reason": "no answer" if state is AnswerState.LOST else None,
                    "payload": _contribution(plan, run_id, number, site.site_id, loss).to_bytes().decode()
                    if told
                    else None,
                    "asked_at": opened_at,
                    "answered_at": opened_at + 60 if told else None,
                }
            )
    with transaction(coordinator.runs._engine) as connection:
        connection.execute(insert(round_), rounds)
        connection.execute(insert(answer), answers)
    return run


def _contribution(plan: Plan, run_id: str, number: int, site_id: str, loss: float) -> Contribution:
    dice = max(0.0, 0.95 - 0.55 * loss)
    return Contribution(
        occasion=Occasion(
            run_id=run_id,
            plan_sha256=plan.sha256,
            round_number=number,
            attempt=1,
            phase=Phase.TRAIN,
            site_id=site_id,
            base_digest="0" * 64,
        ),
        num_examples=120,
        update=BlobRef.of(b"update"),
        num_clipped=0,
        train_loss=loss if "train_loss" in plan.metrics else None,
        evaluation=_evaluation(plan, loss, dice),
        personal_evaluation=None,
        appearance=None,
        duration_s=60.0,
        checkpoint="checkpoint",
    )


def _evaluation(plan: Plan, loss: float, dice: float) -> Evaluation:
    def moments(mean: float) -> Moments:
        return Moments(num_images=30, mean=mean, variance=0.02)

    return Evaluation(
        num_examples=30,
        loss=moments(loss) if "loss" in plan.metrics else None,
        dice=SegmentMoments(dense=moments(dice), breast=moments(0.95), pectoral=None)
        if "dice" in plan.metrics
        else None,
        percent_density=PercentDensity(
            num_images=30,
            mean_measured=22.0,
            mean_expert=20.0,
            variance_measured=100.0,
            variance_expert=100.0,
            covariance=100.0 * dice,
            mean_absolute_difference=10.0 * loss,
        )
        if "percent_density" in plan.metrics
        else None,
    )
