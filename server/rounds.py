"""The run, from its first weights to the published model. Start reading at `run_rounds`."""

from __future__ import annotations

import time
from collections.abc import Mapping

from server.aggregation import Aggregation, first_checkpoint, weights_of_run
from server.carrying import carry_over, waiting_answers
from server.channel import SiteChannel
from server.coordinator import Coordinator
from server.exchange import exchange, open_round
from server.lifecycle import RoundState, RunState
from server.masked_exchanges import exchange_masked, named_survivors
from server.metric_sums import MaskedEvaluation
from server.patience import counting_patience_s
from server.publication import publish
from server.session import Session, gather, gather_any, require_going_on
from server.store import Answer, Checkpoint, Round, Run, Site
from server.supplements import supplement
from server.weighting import SiteWeights
from shared.errors import (
    AggregationError,
    ClockError,
    MammofedError,
    NotFoundError,
    QuorumError,
    StoreError,
    TransferError,
)
from shared.plan import Plan
from shared.records import ROUND_PHASES, Contribution, Phase

GATHER_S = 20.0
"""How long a run that is taken up waits for sites that start or come back, once there is a quorum."""

MAX_ATTEMPTS = 3


def run_rounds(run_id: str, channel: SiteChannel, coordinator: Coordinator) -> None:
    """Carry a run through its rounds, publish its model, and supplement that by what its evaluation shows.

    Every aggregate is a checkpoint before anything else happens with it, and the model is published before
    anybody evaluates it; a run that was interrupted goes on from there.

    A run that is over already, or is stopped meanwhile, is left as it is.

    Raises
    ------
    StoreError, ClockError
        The store or its disk refuses, or the clock is wrong; the run is as it was, and can be carried on.
    MammofedError
        The run cannot go on; it is recorded as failed, and its checkpoints and its model stay.
    """
    run = coordinator.runs.get(run_id)
    if run.state.is_over:
        return
    try:
        session = _begin(run, channel, coordinator)
        checkpoint = _taken_up(session)
        patience_s = GATHER_S
        while checkpoint.number < session.plan.rounds.count:
            checkpoint = _run_round(session, checkpoint, patience_s=patience_s)
            patience_s = 0
        require_going_on(session)
        model = coordinator.models.of_run(run_id) or publish(coordinator, session.run, checkpoint)
        if session.plan.tells_in_aggregate:
            _evaluate_in_aggregate(session, checkpoint)
        else:
            _evaluate(session, checkpoint)
        require_going_on(session)
        supplement(coordinator, session.run, model)
        coordinator.runs.move(run_id, RunState.FINISHED, at=time.time())
        _forget_blobs(coordinator)
    except MammofedError as error:
        if is_of_this_machine(error):
            raise
        # Stopped in the middle, and perhaps resumed since: whoever takes it up begins anew.
        has_failed = coordinator.runs.get(run_id).state is RunState.RUNNING
        if has_failed:
            coordinator.runs.move(run_id, RunState.FAILED, at=time.time(), failure=error.message)
        _forget_blobs(coordinator)
        if has_failed:
            raise


def is_of_this_machine(error: MammofedError) -> bool:
    """Whether the store, its disk or the clock here is at fault for now, which no run is ended for."""
    of_store = isinstance(error, StoreError) and not isinstance(error, NotFoundError | TransferError)
    return of_store or isinstance(error, ClockError)


def _begin(run: Run, channel: SiteChannel, coordinator: Coordinator) -> Session:
    if run.state is RunState.SUBMITTED:
        coordinator.runs.move(run.run_id, RunState.RUNNING, at=time.time())
    coordinator.runs.void_open_rounds(run.run_id, at=time.time())
    coordinator.blobs.put_bytes(run.plan_toml.encode())
    return Session(run=run, plan=Plan.from_toml(run.plan_toml), channel=channel, coordinator=coordinator)


def _taken_up(session: Session) -> Checkpoint:
    """Where the run goes on from, as whole on the disk as when it was made.

    Raises
    ------
    MammofedError
        The disk has damaged it, or as `_first_checkpoint`.
    """
    checkpoint = session.coordinator.runs.last_checkpoint(session.run.run_id) or _first_checkpoint(session)
    for blob in (checkpoint.weights, checkpoint.state):
        session.coordinator.blobs.verify(blob)
    return checkpoint


def _first_checkpoint(session: Session) -> Checkpoint:
    """What the run starts from: an extension from all that the run before it came to.

    Raises
    ------
    AggregationError
        The run before it did not come to the weights that the plan names.
    """
    plan, coordinator = session.plan, session.coordinator
    parent = coordinator.runs.last_checkpoint(plan.extends[-1]) if plan.extends else None
    if plan.extends and (parent is None or parent.weights.digest != plan.initial_weights):
        raise AggregationError(
            "The run that the plan goes on from did not come to the weights that it names.",
            "Extend that run anew: `mammofed-coordinator run extend`.",
        )
    return first_checkpoint(plan, coordinator.blobs, parent=parent)


def _run_round(session: Session, base: Checkpoint, *, patience_s: float) -> Checkpoint:
    """One round, tried again while too few sites answer; waits so long for sites that are not there yet.

    Raises
    ------
    QuorumError
        Too few sites answered in every attempt.
    StoreError
        The disk has no room for what they would send: no attempt is begun for nothing.
    """
    runs, blobs = session.coordinator.runs, session.coordinator.blobs
    number = base.number + 1
    for _ in range(MAX_ATTEMPTS):
        waiting = waiting_answers(session, number)
        needed = named_survivors(session, number) if session.plan.is_masked else None
        given = frozenset(each.site_id for each in waiting)
        there = gather(session, patience_s=patience_s, given=given, needed=needed or frozenset())
        weights = _weigh(session, there, base)
        if weights is None:
            continue
        aggregation = Aggregation(plan=session.plan, base=base, weights=weights, blobs=blobs)
        carried = carry_over(waiting, aggregation)
        asked = weights.weights.keys() - {each.site_id for each in carried}
        cohort = [site for site in there if site.site_id in asked]
        if len(carried) + len(cohort) < session.plan.least_cohort:
            continue
        _require_room(session, base, values_sent=len(cohort) * aggregation.grid.num_values)
        if session.plan.is_masked:
            opened = exchange_masked(session, cohort, base, aggregation, number=number)
            if opened is None:
                _forget_blobs(session.coordinator, base)
        else:
            opened = _exchange_plain(session, cohort, base, aggregation, number=number, carried=carried)
        if opened is not None:
            checkpoint = aggregation.checkpoint()
            runs.close_round(
                opened,
                checkpoint,
                state=RoundState.AGGREGATED,
                at=time.time(),
                together=aggregation.together(),
            )
            _forget_blobs(session.coordinator, checkpoint)
            return checkpoint
    if not _counts(session):
        raise QuorumError(
            "No site counts its examples for this run.", "`run show` tells what became of each site."
        )
    raise QuorumError(
        f"Round {number} got fewer than {session.plan.rounds.quorum} answers in {MAX_ATTEMPTS} attempts.",
        "`run show` tells what became of each site; the checkpoints of earlier rounds stay.",
    )


def _require_room(session: Session, base: Checkpoint, *, values_sent: int) -> None:
    """Return only if the disk can hold a round: updates, which nothing packs at worst, and two checkpoints.

    Raises
    ------
    StoreError
        It cannot.
    """
    a_checkpoint = base.weights.size_bytes + base.state.size_bytes
    bits = 32 if session.plan.is_masked else session.plan.aggregation.bits
    session.coordinator.blobs.require_room(values_sent * bits // 8 + 2 * a_checkpoint)


def _exchange_plain(
    session: Session,
    cohort: list[Site],
    base: Checkpoint,
    aggregation: Aggregation,
    *,
    number: int,
    carried: list[Answer],
) -> Round | None:
    """One attempt without masks; None, and the attempt is void, if too few answer."""
    quorum = session.plan.rounds.quorum
    for phase in ROUND_PHASES:
        opened = open_round(session, cohort, base, number=number, phase=phase, carried=carried)
        given = exchange(session, opened, cohort, aggregation, needed=quorum - len(carried))
    if len(carried) + len(given) >= quorum:
        return opened
    # The updates stay until the round is over: in the next attempt they count, or are sent again.
    session.coordinator.runs.close_round(opened, None, state=RoundState.VOID, at=time.time())
    return None


def _weigh(session: Session, there: list[Site], base: Checkpoint) -> SiteWeights | None:
    """The weights of all sites that were ever counted; those that are new to the run are asked to count."""
    before = _counts(session)
    counted = {site_id for batch in before for site_id in batch}
    if new := [site for site in there if site.site_id not in counted]:
        at_most_s = counting_patience_s(is_late=weights_of_run(session.plan, before) is not None)
        opened = open_round(session, new, base, number=0, phase=Phase.COUNT, at_most_s=at_most_s)
        exchange(session, opened, new, needed=session.plan.rounds.quorum - len(counted))
        session.coordinator.runs.close_round(opened, None, state=RoundState.AGGREGATED, at=time.time())
    return weights_of_run(session.plan, _counts(session))


def _counts(session: Session) -> list[Mapping[str, int]]:
    """Training examples by site, of each exchange of counting in this run and those that it goes on from."""
    return session.coordinator.outcomes.counts(session.plan.lineage(session.run.run_id))


def _forget_blobs(coordinator: Coordinator, newest: Checkpoint | None = None) -> None:
    """Single sites' updates, admitted or not, whole or not, are kept no longer than their round lasts.

    Those that an interrupted run has admitted wait until it is taken up.

    A delta is kept as long as its checkpoint is the newest one.
    """
    # In this order: what comes meanwhile was written down before it came, and is not looked at.
    here = coordinator.blobs.digests()
    kept = coordinator.kept_digests() | coordinator.runs.waiting_updates()
    if newest is not None and newest.delta is not None:
        kept |= {newest.delta.blob.digest}
    for digest in here:
        if digest not in kept:
            coordinator.blobs.remove(digest)
    coordinator.blobs.discard_unfinished(may_resume=lambda _digest: False)


def _evaluate(session: Session, final: Checkpoint) -> None:
    """Ask every site that is online how the final weights do on its test part.

    Raises
    ------
    QuorumError
        No site answers.
    """
    session.coordinator.blobs.verify(final.weights)
    given = list[Contribution]()
    if cohort := gather_any(session, patience_s=GATHER_S):
        opened = open_round(session, cohort, final, number=final.number, phase=Phase.EVALUATE)
        given = exchange(session, opened, cohort)
        session.coordinator.runs.close_round(opened, None, state=RoundState.AGGREGATED, at=time.time())
        _forget_blobs(session.coordinator)
    if not given:
        raise QuorumError(
            "The model is published, and no site has evaluated it.",
            "Ask the sites to run `mammofed-site serve`; `run resume` then has them evaluate it.",
        )


def _evaluate_in_aggregate(session: Session, final: Checkpoint) -> None:
    """The same where sites tell metrics in aggregate only: tried as a round is, and done once.

    Raises
    ------
    QuorumError
        Too few sites answer in every attempt.
    """
    coordinator, number = session.coordinator, session.plan.evaluation_number
    if coordinator.histories.together(session.run.run_id, Phase.EVALUATE):
        return
    coordinator.blobs.verify(final.weights)
    for _ in range(MAX_ATTEMPTS):
        needed = named_survivors(session, number) or frozenset()
        cohort = gather(session, patience_s=GATHER_S, needed=needed)
        evaluation = MaskedEvaluation(plan=session.plan)
        opened = exchange_masked(session, cohort, final, evaluation, number=number, phase=Phase.EVALUATE)
        if opened is not None:
            coordinator.runs.close_round(
                opened,
                None,
                state=RoundState.AGGREGATED,
                at=time.time(),
                together=evaluation.metrics.together(),
            )
            _forget_blobs(coordinator)
            return
    raise QuorumError(
        "The model is published, and too few sites have evaluated it to be told of together.",
        "`run show` tells what became of each site; `run resume` then has them evaluate it.",
    )
