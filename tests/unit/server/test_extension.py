"""A finished run is extended: the rounds that follow are those that a longer run would have had."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from server.lifecycle import RunState
from server.store import Run
from server.submission import extend
from shared.errors import AggregationError, NotFoundError, PlanError
from shared.fixed_point.grid import Grid
from shared.fixed_point.update_file import write_update
from shared.package import MODEL_CARD
from shared.plan import AggregationPlan, Plan
from shared.records import Counted, Phase
from tests.unit.server.simulated_federation import (
    RUN_ID,
    SITES,
    Asked,
    SimulatedFederation,
    SimulatedSite,
    honest,
    refuse,
    small_plan,
)

Make = Callable[..., SimulatedFederation]
ROUNDS = 2
STRATEGIES = {
    "fedavg": AggregationPlan(),
    "fedavg with 8 bits": AggregationPlan(bits=8),
    "fedadam": AggregationPlan(strategy="fedadam"),
    "fedbn": AggregationPlan(strategy="fedbn"),
    "scaffold": AggregationPlan(strategy="scaffold"),
    "median": AggregationPlan(strategy="median"),
}


def plan_of(rounds: int, aggregation: AggregationPlan | None = None) -> Plan:
    quorum = (aggregation or AggregationPlan()).least_answers
    return small_plan(rounds, quorum=quorum).model_copy(
        update={"aggregation": aggregation or AggregationPlan()}
    )


def integers_of_the_round(site: SimulatedSite, asked: Asked) -> bytes:
    """Whole numbers of steps, which no rounding changes, drawn for the round of the whole training."""
    if asked.occasion.phase is not Phase.TRAIN:
        return honest(site, asked)
    number = asked.occasion.round_number + (0 if asked.occasion.run_id == RUN_ID else ROUNDS)
    seed = hashlib.sha256(f"{site.name} {number}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(seed[:4], "big"))
    grid = Grid(
        bits=asked.terms.bits,
        shapes=asked.sent,
        exponents=dict(zip(asked.sent, asked.terms.exponents, strict=True)),
    )
    dtype = np.int8 if grid.bits == 8 else np.int16
    file = io.BytesIO()
    blocks = [random.integers(-100, 101, block.size).astype(dtype) for block in grid.blocks()]
    write_update(file, grid, blocks, compress=True)
    return site.signed(site.contribution(asked, site.upload(file.getvalue())))


def extended(
    federation: SimulatedFederation, run_id: str = RUN_ID, *, rounds: int = ROUNDS, by: tuple[str, ...] = ()
) -> Run:
    """An extension that sites have approved, carried to its end."""
    run = extend(federation.coordinator, run_id, num_rounds=rounds, learning_rate=None, actor="person:ada")
    federation.approve(run, by=by or None)
    for site in federation.sites.values():
        site.trained.clear()
    federation.run(run.run_id)
    return run


def announced(federation: SimulatedFederation, name: str, number: int) -> Asked:
    return federation[name].trained[number]


@pytest.mark.parametrize("name", STRATEGIES)
def test_two_rounds_and_two_more_come_to_the_same_bytes_as_four(name: str, tmp_path: Path) -> None:
    whole = SimulatedFederation(tmp_path / "whole", plan_of(2 * ROUNDS, STRATEGIES[name]))
    parts = SimulatedFederation(tmp_path / "parts", plan_of(ROUNDS, STRATEGIES[name]))
    for federation in (whole, parts):
        for site in federation.sites.values():
            site.does(integers_of_the_round)
        federation.run()

    run = extended(parts)

    last = parts.coordinator.runs.last_checkpoint(run.run_id)
    assert last is not None
    assert last == replace(whole.checkpoint, number=ROUNDS)  # weights, momenta, variates and grid
    assert parts.coordinator.runs.get(run.run_id).state is RunState.FINISHED
    assert parts.coordinator.models.of_run(run.run_id) is not None


def test_the_plan_of_an_extension_names_its_parent_its_weights_and_its_line(
    federation: SimulatedFederation,
) -> None:
    federation.run()

    run = extend(federation.coordinator, RUN_ID, num_rounds=7, learning_rate=0.0005, actor="person:ada")

    plan = Plan.from_toml(run.plan_toml)
    assert plan.parent == federation.plan.sha256
    assert plan.initial_weights == federation.checkpoint.weights.digest
    assert plan.extends == (RUN_ID,)
    assert (plan.rounds.count, plan.training.learning_rate) == (7, 0.0005)
    as_before = {"parent": None, "initial_weights": None, "extends": None, "rounds": federation.plan.rounds}
    assert plan.model_copy(update={**as_before, "training": federation.plan.training}) == federation.plan
    assert run.state is RunState.SUBMITTED
    (line,) = federation.coordinator.audit.lines(subject=run.run_id)
    assert (line.name, line.actor, line.details["plan_sha256"]) == (
        "run.submitted",
        "person:ada",
        plan.sha256,
    )


def test_an_extension_is_extended_and_names_both_runs_before_it(federation: SimulatedFederation) -> None:
    federation.run()
    first = extended(federation, rounds=1)

    second = extended(federation, first.run_id, rounds=1)

    assert Plan.from_toml(second.plan_toml).extends == (RUN_ID, first.run_id)
    assert Plan.from_toml(second.plan_toml).parent == first.plan_sha256
    assert federation.coordinator.runs.get(second.run_id).state is RunState.FINISHED


def test_the_card_of_the_model_says_from_what_its_training_started(
    federation: SimulatedFederation,
) -> None:
    federation.run()
    run = extended(federation, rounds=1)

    started = f"| Started from | the final weights of {RUN_ID}, and so from its training data as well"
    assert started in card_of(federation, run.run_id)
    assert "Started from" not in card_of(federation, RUN_ID)


def card_of(federation: SimulatedFederation, run_id: str) -> str:
    model = federation.coordinator.models.of_run(run_id)
    assert model is not None
    (blob,) = (
        file.blob for file in federation.coordinator.models.files(model.model_id) if file.name == MODEL_CARD
    )
    return federation.coordinator.blobs.path(blob.digest).read_text()


def test_only_a_finished_run_is_extended(federation: SimulatedFederation) -> None:
    def ask(run_id: str, **settings: float) -> Run:
        asked = {"num_rounds": 1, "learning_rate": None, **settings}
        return extend(federation.coordinator, run_id, actor="person:ada", **asked)

    with pytest.raises(AggregationError, match="this one is submitted"):
        ask(RUN_ID)
    federation.run()
    with pytest.raises(NotFoundError):
        ask("run-2")
    with pytest.raises(PlanError, match=r"training\.learning_rate"):
        ask(RUN_ID, learning_rate=2.0)

    assert [run.run_id for run in federation.coordinator.runs.all()] == [RUN_ID]


def test_sites_keep_their_weights_and_one_that_is_new_is_counted_beside_them(
    federation: SimulatedFederation,
) -> None:
    cork = federation["cork"]
    cork.online_since = None
    federation.run()
    before = {name: announced(federation, name, 2).terms for name in ("aarhus", "bergen")}
    cork.online_since = 0.0
    federation["bergen"].num_examples = 3000  # what has come since counts in a run of its own

    extended(federation)

    after = {name: announced(federation, name, 1).terms for name in federation.sites}
    for name, terms in before.items():
        assert (after[name].weight, after[name].total) == (terms.weight, terms.total)
    # Of its 60 examples no more count than the largest site had at the start.
    assert (after["cork"].weight, after["cork"].total) == (300, before["bergen"].total)


def test_each_site_is_told_which_contribution_it_goes_on_from(found_federation: Make) -> None:
    federation = found_federation(ROUNDS, sites={**SITES, "delft": 20})
    federation["bergen"].does(refuse, in_round=2)
    federation["cork"].does(refuse)
    federation.run()
    for site in federation.sites.values():
        site.does(honest)
        site.does(honest, in_round=2)

    run = extended(federation)

    told = {name: announced(federation, name, 1).announcement.counted for name in federation.sites}
    assert told == {
        "aarhus": Counted(run_id=RUN_ID, round_number=2),
        "bergen": Counted(run_id=RUN_ID, round_number=1),
        "cork": None,
        "delft": Counted(run_id=RUN_ID, round_number=2),
    }
    again = announced(federation, "cork", 2).announcement.counted
    assert again == Counted(run_id=run.run_id, round_number=1)


def test_an_extension_whose_parent_has_other_final_weights_fails_before_any_site_is_asked(
    federation: SimulatedFederation,
) -> None:
    federation.run()
    first_weights = federation.base_of(1).digest
    plan = federation.plan.model_copy(
        update={"parent": federation.plan.sha256, "initial_weights": first_weights, "extends": (RUN_ID,)}
    )
    run = Run.under(plan, run_id="run-2", created_at=1.0)
    federation.coordinator.runs.submit(run, actor="test")
    federation.approve(run)
    asked_before = len(federation["cork"].asked)

    with pytest.raises(AggregationError, match="did not come to the weights"):
        federation.run("run-2")

    assert federation.coordinator.runs.get("run-2").state is RunState.FAILED
    assert len(federation["cork"].asked) == asked_before
