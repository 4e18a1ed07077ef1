"""Asking for a run: a plan of its own, or the extension of a run that is finished."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from server.coordinator import Coordinator
from server.lifecycle import RunState
from server.store import Run
from server.strategies import strategy_of
from shared.errors import AggregationError, PlanError
from shared.identifiers import new_run_id
from shared.masking.agreed import LEAST_SITES, Agreed
from shared.plan import Plan

if TYPE_CHECKING:
    from shared.model import Weights


def submit(coordinator: Coordinator, plan: Plan, *, actor: str, initial: Weights | None = None) -> Run:
    """Record a new run.

    Parameters
    ----------
    initial
        Weights to start from, which were read for this plan; their digest becomes part of it.

    Raises
    ------
    PlanError
        The plan goes on from another run, names other initial weights, needs more sites than there are, or
        cannot keep what secure aggregation promises.
    """
    if plan.extends:
        raise PlanError(
            "The plan goes on from another run.",
            "`run extend` writes such a plan; take `extends` and `initial_weights` out for a run of its own.",
        )
    plan = with_privacy_settled(plan, num_sites=len(coordinator.federation.active()))
    if initial is None:
        if plan.initial_weights is not None:
            raise PlanError("The plan names initial weights.", "Give them with `--initial-weights`.")
        return _record(coordinator, plan, actor)
    # Here alone, for they bring torch, and the command that asks for a run follows it to its end.
    from shared.model import model_around
    from shared.model.tensor_file import write_model

    with coordinator.blobs.draft() as draft:
        write_model(draft, model_around(initial, plan.model))
        named = plan.model_copy(update={"initial_weights": coordinator.blobs.digest_of(draft)})
        if plan.initial_weights not in {None, named.initial_weights}:
            raise PlanError(
                "The plan names other initial weights.", "Give those, or take them out of the plan."
            )
        run = _record(coordinator, named, actor)
        # Not before: what no run names is forgotten whenever a round ends.
        coordinator.blobs.put_draft(draft)
    return run


def extend(
    coordinator: Coordinator, run_id: str, *, num_rounds: int, learning_rate: float | None, actor: str
) -> Run:
    """Record a run that goes on from a finished one, under its plan with another number of rounds.

    Parameters
    ----------
    learning_rate
        Peak of the new rounds' curve; None leaves it as it was.

    Raises
    ------
    NotFoundError
        No run has this id.
    AggregationError
        It is not finished.
    PlanError
        A value is out of range, or the plan needs more sites than there are.
    """
    parent = coordinator.runs.get(run_id)
    last = coordinator.runs.last_checkpoint(run_id)
    if parent.state is not RunState.FINISHED or last is None:
        raise AggregationError(
            f"Only a finished run is extended; this one is {parent.state.value}.",
            "`run resume` goes on with a run that was stopped or has failed.",
        )
    plan = Plan.from_toml(parent.plan_toml)
    training = plan.training
    if learning_rate is not None:
        training = training.model_copy(update={"learning_rate": learning_rate})
    child = plan.model_copy(
        update={
            "parent": parent.plan_sha256,
            "initial_weights": last.weights.digest,
            "extends": plan.lineage(run_id),
            "rounds": plan.rounds.model_copy(update={"count": num_rounds}),
            "training": training,
        }
    )
    return _record(coordinator, Plan.from_toml(child.to_toml()), actor)


def with_privacy_settled(plan: Plan, *, num_sites: int) -> Plan:
    """The plan with secure aggregation on or off, as it will be hashed: on for three sites or more.

    Raises
    ------
    PlanError
        It is to be on with a strategy that needs single updates, or with too few sites for its promise.
    """
    wanted = plan.privacy.secure_aggregation
    is_on = num_sites >= LEAST_SITES if wanted == "auto" else wanted == "on"
    if is_on and strategy_of(plan.aggregation).needs_single_updates:
        raise PlanError(
            f"{plan.aggregation.strategy} needs each site's own update, which secure aggregation hides.",
            'Set `privacy.secure_aggregation = "off"` in the plan, or choose another strategy.',
        )
    if is_on:
        Agreed(
            num_sites=num_sites,
            colluding=plan.privacy.colluding_sites,
            neighbours=plan.privacy.neighbours,
        )
    privacy = plan.privacy.model_copy(update={"secure_aggregation": "on" if is_on else "off"})
    return plan.model_copy(update={"privacy": privacy})


def _record(coordinator: Coordinator, plan: Plan, actor: str) -> Run:
    num_sites = len(coordinator.federation.active())
    if num_sites < plan.rounds.quorum:
        raise PlanError(
            f"The plan's quorum is {plan.rounds.quorum}, but {num_sites} hospitals have joined.",
            "Invite more hospitals, or lower `rounds.quorum` (never below 2).",
        )
    run = Run.under(plan, run_id=new_run_id(), created_at=time.time())
    coordinator.runs.submit(run, actor=actor)
    return run
