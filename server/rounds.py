"""The run, from its first weights to the published model. Start reading at `run_rounds`."""

from __future__ import annotations

import time
from functools import partial

from server.admission import read_update
from server.aggregation import Share, average
from server.channel import SiteChannel
from server.coordinator import Coordinator
from server.exchange import Session, exchange, gather, open_round, present
from server.lifecycle import RoundState, RunState
from server.publication import publish
from server.store import Checkpoint, Run
from shared.errors import MammofedError, QuorumError
from shared.model import Weights, initial_model
from shared.model.weights import from_bytes, to_bytes, weights_of
from shared.plan import Plan
from shared.records import ROUND_PHASES, Contribution, Phase

GATHER_S = 20.0
"""How long the first round waits for sites that are still starting, once there is a quorum."""

MAX_ATTEMPTS = 3


def run_rounds(run_id: str, channel: SiteChannel, coordinator: Coordinator) -> None:
    """Carry a run through its rounds and publish its model.

    Every aggregate is a checkpoint before anything else happens with it; a run that was interrupted goes on
    from the last one.

    A run that is over already is left as it is.

    Raises
    ------
    MammofedError
        The run cannot go on; it is recorded as failed, and its checkpoints stay.
    """
    run = coordinator.runs.get(run_id)
    if run.state in {RunState.FINISHED, RunState.FAILED}:
        return
    try:
        session = _begin(run, channel, coordinator)
        checkpoint = coordinator.runs.last_checkpoint(run_id) or _first_checkpoint(session)
        while checkpoint.number < session.plan.rounds.count:
            checkpoint = _run_round(session, checkpoint)
        _evaluate(session, checkpoint)
        if coordinator.models.of_run(run_id) is None:
            publish(coordinator, session.run, checkpoint)
        coordinator.runs.move(run_id, RunState.FINISHED, at=time.time())
    except MammofedError as error:
        coordinator.runs.move(run_id, RunState.FAILED, at=time.time(), failure=error.message)
        raise


def _begin(run: Run, channel: SiteChannel, coordinator: Coordinator) -> Session:
    if run.state is RunState.SUBMITTED:
        coordinator.runs.move(run.run_id, RunState.RUNNING, at=time.time())
    coordinator.runs.void_open_rounds(run.run_id, at=time.time())
    coordinator.blobs.put_bytes(run.plan_toml.encode())
    return Session(run=run, plan=Plan.from_toml(run.plan_toml), channel=channel, coordinator=coordinator)


def _first_checkpoint(session: Session) -> Checkpoint:
    weights = weights_of(initial_model(session.plan))
    return Checkpoint(number=0, weights=session.coordinator.blobs.put_bytes(to_bytes(weights)))


def _run_round(session: Session, base: Checkpoint) -> Checkpoint:
    """One round, tried again while too few sites answer.

    Raises
    ------
    QuorumError
        Too few sites answered in every attempt.
    """
    runs, blobs = session.coordinator.runs, session.coordinator.blobs
    number = base.number + 1
    weights = _read_weights(session, base)
    for _ in range(MAX_ATTEMPTS):
        cohort = gather(session, patience_s=GATHER_S if number == 1 else 0)
        for phase in ROUND_PHASES:
            opened = open_round(session, cohort, base, number=number, phase=phase)
            contributions = exchange(session, opened, cohort, weights)
        if len(contributions) >= session.plan.rounds.quorum:
            aggregate = average(weights, [_share(session, weights, each) for each in contributions])
            blob = blobs.put_bytes(to_bytes(aggregate))
            runs.close_round(opened, blob, state=RoundState.AGGREGATED, at=time.time())
            _forget_updates(session.coordinator)
            return Checkpoint(number=number, weights=blob)
        runs.close_round(opened, None, state=RoundState.VOID, at=time.time())
        _forget_updates(session.coordinator)
    raise QuorumError(
        f"Round {number} got fewer than {session.plan.rounds.quorum} answers in {MAX_ATTEMPTS} attempts.",
        "`run show` tells what became of each site; the checkpoints of earlier rounds stay.",
    )


def _forget_updates(coordinator: Coordinator) -> None:
    """Single sites' updates, admitted or not, are kept no longer than the aggregate needs them."""
    kept = coordinator.kept_digests()
    for digest in coordinator.blobs.digests():
        if digest not in kept:
            coordinator.blobs.remove(digest)


def _evaluate(session: Session, final: Checkpoint) -> None:
    """Ask every site that is online how the final weights do on its test part."""
    weights = _read_weights(session, final)
    cohort = present(session)
    if not cohort:
        return
    opened = open_round(session, cohort, final, number=final.number, phase=Phase.EVALUATE)
    exchange(session, opened, cohort, weights)
    session.coordinator.runs.close_round(opened, None, state=RoundState.AGGREGATED, at=time.time())


def _read_weights(session: Session, checkpoint: Checkpoint) -> Weights:
    like = weights_of(initial_model(session.plan))
    session.coordinator.blobs.verify(checkpoint.weights)
    return from_bytes(session.coordinator.blobs.path(checkpoint.weights.digest).read_bytes(), like=like)


def _share(session: Session, base: Weights, contribution: Contribution) -> Share:
    return Share(
        site_id=contribution.occasion.site_id,
        num_examples=contribution.num_examples,
        read=partial(read_update, contribution, base, session.coordinator.blobs),
    )
