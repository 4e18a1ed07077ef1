"""Runs as the store has them after so many rounds, recorded at once and without any training."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import insert, select

from server.coordinator import Coordinator
from server.lifecycle import AnswerState, RoundState, RunState
from server.publication import publish
from server.store import Checkpoint, Model, Run
from server.store.figures import figures_of, figures_over, to_text
from server.store.schema import ATTEMPT_KEY, answer, round_, site
from server.supplements import supplement
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
    counts = {each.site_id: 120 for each in sites}
    draw = random.Random(7)
    rounds, answers = [], []
    for number in range(1, done + 2):
        is_open = number > done
        opened_at = run.created_at + (number - 1) * ROUND_S
        key = {"run_id": run_id, "number": number, "attempt": 1, "phase": Phase.TRAIN.value}
        admitted: list[Contribution] = []
        for place, each in enumerate(sites):
            state = AnswerState.ASKED if is_open else AnswerState.ADMITTED
            if (number, each.name) in lost:
                state = AnswerState.LOST
            loss = 0.25 + 0.9 / number**0.6 + 0.03 * place + draw.uniform(-0.02, 0.02)
            told = None
            if state is AnswerState.ADMITTED:
                told = _contribution(plan, run_id, number, each.site_id, loss)
                admitted.append(told)
            answers.append(
                {
                    **key,
                    "site_id": each.site_id,
                    "state": state,
                    "reason": "no answer" if state is AnswerState.LOST else None,
                    "payload": told.to_bytes().decode() if told else None,
                    "figures": to_text(figures_of(told)) if told else None,
                    "asked_at": opened_at,
                    "answered_at": opened_at + 60 if told else None,
                }
            )
        rounds.append(
            {
                **_attempt(run, number, is_open=is_open),
                "figures": None if is_open else to_text(figures_over(admitted, counts)),
            }
        )
    with transaction(coordinator.runs._engine) as connection:
        connection.execute(insert(round_), rounds)
        connection.execute(insert(answer), answers)
    return run


def finish_run(
    coordinator: Coordinator, plan: Plan, *, run_id: str = "run-1", better_by: float = 0.0
) -> Model:
    """A run that has come to its end, and its model; each site does worse than the one before it."""
    run = record_run(coordinator, plan, done=plan.rounds.count - 1, run_id=run_id)
    weights = coordinator.blobs.put_bytes(f"weights of {run_id}".encode())
    state = coordinator.blobs.put_bytes(b"state")
    final = Checkpoint(number=plan.rounds.count, weights=weights, state=state)
    last = coordinator.runs.rounds(run_id)[-1]
    coordinator.runs.close_round(last, final, state=RoundState.AGGREGATED, at=last.opened_at + ROUND_S)
    tested = replace(last, phase=Phase.EVALUATE, base=weights, opened_at=last.opened_at + ROUND_S)
    sites = sorted(coordinator.federation.active(), key=lambda each: each.name)
    coordinator.runs.open_round(tested, [each.site_id for each in sites])
    for place, each in enumerate(sites):
        told = _contribution(plan, run_id, last.number, each.site_id, 0.3 + 0.1 * place - better_by)
        occasion = told.occasion.model_copy(update={"phase": Phase.EVALUATE})
        coordinator.runs.record_answer(
            occasion,
            AnswerState.ADMITTED,
            at=tested.opened_at + 60,
            envelope=b"signed",
            contribution=told.model_copy(update={"occasion": occasion, "update": None, "train_loss": None}),
        )
    coordinator.runs.close_round(tested, None, state=RoundState.AGGREGATED, at=tested.opened_at + 70)
    model = publish(coordinator, run, final)
    supplement(coordinator, run, model)
    coordinator.runs.move(run_id, RunState.FINISHED, at=tested.opened_at + 80)
    return model


def enrol_many(coordinator: Coordinator, num_sites: int) -> None:
    """So many sites like the one that there is, at once: their certificate and keys are its own."""
    with transaction(coordinator.runs._engine) as connection:
        (first,) = connection.execute(select(site)).mappings().all()
        rows = [
            {**first, "site_id": f"site-{number:04d}", "name": f"hospital-{number:04d}", "node_id": None}
            for number in range(1, num_sites)
        ]
        connection.execute(insert(site), rows)


def record_long_run(coordinator: Coordinator, plan: Plan, *, run_id: str = "run-1") -> Run:
    """A running run whose last round is open; in every other one each site has answered the same."""
    run = submit_run(coordinator, plan, run_id)
    coordinator.runs.move(run_id, RunState.RUNNING, at=run.created_at)
    site_ids = [each.site_id for each in coordinator.federation.active()]
    with transaction(coordinator.runs._engine) as connection:
        for number in range(1, plan.rounds.count + 1):
            is_open = number == plan.rounds.count
            told = _contribution(plan, run_id, number, site_ids[0], 0.25 + 0.9 / number**0.6)
            payload, worked_out = told.to_bytes().decode(), to_text(figures_of(told))
            attempt = _attempt(run, number, is_open=is_open)
            whole = None if is_open else to_text(figures_over([told], {site_ids[0]: 120}))
            connection.execute(insert(round_).values(**attempt, figures=whole))
            key = {name: attempt[name] for name in ATTEMPT_KEY}
            answered = {
                "state": AnswerState.ASKED if is_open else AnswerState.ADMITTED,
                "envelope": None if is_open else b"e" * len(payload),
                "figures": None if is_open else worked_out,
                "asked_at": attempt["opened_at"],
                "answered_at": attempt["closed_at"],
            }
            rows = [
                {
                    **key,
                    **answered,
                    "site_id": site_id,
                    "payload": None if is_open else payload.replace(site_ids[0], site_id),
                }
                for site_id in site_ids
            ]
            connection.execute(insert(answer), rows)
    return run


def answer_open_round(coordinator: Coordinator, plan: Plan, *, run_id: str = "run-1") -> None:
    """Every site answers in the open round of a long run, one after another, and the round ends."""
    last = coordinator.runs.rounds(run_id)[-1]
    for each in coordinator.federation.active():
        told = _contribution(plan, run_id, last.number, each.site_id, 0.26)
        coordinator.runs.record_answer(
            told.occasion,
            AnswerState.ADMITTED,
            at=last.opened_at + 60,
            envelope=b"signed",
            contribution=told,
        )
    weights, state = (coordinator.blobs.put_bytes(content) for content in (b"weights", b"state"))
    final = Checkpoint(number=last.number, weights=weights, state=state)
    coordinator.runs.close_round(last, final, state=RoundState.AGGREGATED, at=last.opened_at + ROUND_S)


def _attempt(run: Run, number: int, *, is_open: bool) -> dict[str, object]:
    opened_at = run.created_at + (number - 1) * ROUND_S
    return {
        "run_id": run.run_id,
        "number": number,
        "attempt": 1,
        "phase": Phase.TRAIN.value,
        "state": RoundState.OPEN if is_open else RoundState.AGGREGATED,
        "base_digest": "0" * 64,
        "base_bytes": 7,
        "opened_at": opened_at,
        "deadline": opened_at + 3_600,
        "closed_at": None if is_open else opened_at + ROUND_S,
    }


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
        masking=None,
        epsilon=None,
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
