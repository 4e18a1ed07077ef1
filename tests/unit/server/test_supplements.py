"""A model is published before its evaluation, and what that shows is signed beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.lifecycle import RoundState, RunState
from server.registry import download, release
from server.store import Model
from server.supplements import supplements_of
from shared.errors import AggregationError, MammofedError, QuorumError
from shared.persons.roles import Role
from shared.published import ModelState
from shared.records import Phase
from shared.supplements import CrossSite, Fairness, Limits, Privacy, SupplementKind
from tests.unit.server.simulated_federation import (
    EVALUATION,
    RUN_ID,
    Asked,
    SimulatedFederation,
    SimulatedSite,
    honest,
    refuse,
    small_plan,
)

Make = Callable[..., SimulatedFederation]
DICE = {"aarhus": 0.8, "bergen": 0.5, "cork": 0.7}


def measures_so_well(site: SimulatedSite, asked: Asked) -> bytes:
    if asked.occasion.phase is not Phase.EVALUATE:
        return honest(site, asked)
    dice = EVALUATION.dice
    assert dice is not None
    assert dice.dense is not None
    dense = dice.dense.model_copy(update={"mean": DICE[site.name]})
    told = EVALUATION.model_copy(update={"dice": dice.model_copy(update={"dense": dense})})
    return site.signed(site.contribution(asked, None).model_copy(update={"evaluation": told}))


def refuses_to_evaluate(site: SimulatedSite, asked: Asked) -> bytes:
    return refuse(site, asked) if asked.occasion.phase is Phase.EVALUATE else honest(site, asked)


def model_of(federation: SimulatedFederation) -> Model:
    model = federation.coordinator.models.of_run(RUN_ID)
    assert model is not None
    return model


def lets_all_evaluate_so_well(federation: SimulatedFederation) -> None:
    for site in federation.sites.values():
        site.does(measures_so_well)


def test_the_evaluation_is_signed_the_worst_site_first(
    federation: SimulatedFederation, tmp_path: Path
) -> None:
    lets_all_evaluate_so_well(federation)
    federation.run()

    model = model_of(federation)
    told = {kind: one.content for kind, one in supplements_of(federation.coordinator, model).items()}
    assert told.keys() == set(SupplementKind)
    fairness, matrix = told[SupplementKind.FAIRNESS], told[SupplementKind.CROSS_SITE]
    assert isinstance(fairness, Fairness)
    assert [one.site for one in fairness.sites] == ["bergen", "cork", "aarhus"]
    assert fairness.sites[0].measures["dice_dense"].value == 0.5
    # 8 images at each site
    assert fairness.all_sites["dice_dense"].value == pytest.approx((0.8 + 0.5 + 0.7) / 3)
    assert isinstance(matrix, CrossSite)
    assert [one.model_id for one in matrix.models] == [model.model_id]
    assert isinstance(told[SupplementKind.LIMITS], Limits)
    privacy = told[SupplementKind.PRIVACY]
    assert isinstance(privacy, Privacy)
    assert (privacy.coordinator_saw, privacy.num_sites) == ("updates", 3)
    # It goes with the package, and is what the sites are told of.
    package = download(federation.coordinator, model.model_id, tmp_path / "model", actor="test")
    assert package.supplements == supplements_of(federation.coordinator, model)
    (published,) = federation.coordinator.models.published().models
    assert published.supplements.keys() == set(SupplementKind)


def test_at_the_evaluation_the_model_is_published_and_a_candidate(federation: SimulatedFederation) -> None:
    seen = []

    def look(site: SimulatedSite, asked: Asked) -> bytes:
        if asked.occasion.phase is Phase.EVALUATE:
            model = model_of(federation)
            seen.append((model.state, supplements_of(federation.coordinator, model)))
        return honest(site, asked)

    federation["cork"].does(look)
    federation.run()

    assert seen == [(ModelState.CANDIDATE, {})]


def run_until_killed(folder: Path) -> None:
    """In a process of its own: a run whose coordinator is killed while a site evaluates."""
    federation = SimulatedFederation(folder, small_plan(2))

    def kill(site: SimulatedSite, asked: Asked) -> bytes:
        if asked.occasion.phase is Phase.EVALUATE:
            os.kill(os.getpid(), signal.SIGKILL)
        return honest(site, asked)

    federation["bergen"].does(kill)
    federation.run()


def test_a_coordinator_that_is_killed_in_the_evaluation_loses_no_model(tmp_path: Path) -> None:
    home = tmp_path / "home"
    words = f"import sys, pathlib, {__name__} as here; here.run_until_killed(pathlib.Path(sys.argv[1]))"
    ended = subprocess.run([sys.executable, "-c", words, home], check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL

    coordinator = Coordinator.open(CoordinatorHome(home))
    model = coordinator.models.of_run(RUN_ID)
    assert model is not None
    assert model.state is ModelState.CANDIDATE
    assert coordinator.runs.get(RUN_ID).state is RunState.RUNNING
    package = download(coordinator, model.model_id, tmp_path / "downloaded", actor="test")
    assert package.plan == small_plan(2)
    assert package.supplements == {}


def test_a_run_whose_evaluation_was_cut_short_goes_on_with_it_and_publishes_nothing_anew(
    federation: SimulatedFederation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("server.rounds._evaluate", cut)
        with pytest.raises(KeyboardInterrupt):
            federation.run()
    before = model_of(federation)

    federation.resume()

    assert model_of(federation) == before
    assert supplements_of(federation.coordinator, before).keys() == set(SupplementKind)
    assert federation.state is RunState.FINISHED


def test_where_no_site_evaluates_the_model_stays_and_the_run_can_be_resumed_for_it(
    federation: SimulatedFederation,
) -> None:
    for site in federation.sites.values():
        site.does(refuses_to_evaluate)
    with pytest.raises(QuorumError, match="no site has evaluated it"):
        federation.run()
    assert federation.state is RunState.FAILED
    before = model_of(federation)
    assert supplements_of(federation.coordinator, before) == {}

    lets_all_evaluate_so_well(federation)
    federation.coordinator.runs.resume(RUN_ID, actor="test", at=time.time())
    for site in federation.sites.values():  # each has seen that it is open again
        federation.coordinator.consents.offer(RUN_ID, site.site_id, at=time.time())
    federation.resume()

    assert federation.state is RunState.FINISHED
    assert model_of(federation) == before
    assert supplements_of(federation.coordinator, before).keys() == set(SupplementKind)
    trained = [one for one in federation.coordinator.runs.rounds(RUN_ID) if one.phase is Phase.TRAIN]
    assert [one.state for one in trained].count(RoundState.AGGREGATED) == federation.plan.rounds.count


def test_no_model_is_released_without_the_supplements_that_the_policy_asks_for(
    federation: SimulatedFederation,
) -> None:
    for site in federation.sites.values():
        site.does(refuses_to_evaluate)
    with pytest.raises(QuorumError):
        federation.run()
    model, coordinator = model_of(federation), federation.coordinator
    for name in ("ada", "bob"):
        coordinator.persons.add(name, Role.ADMINISTRATOR, actor="test", at=model.created_at)

    with pytest.raises(AggregationError, match="cross_site, fairness, calibration, limits, privacy"):
        release(coordinator, model.model_id, actor="person:ada")

    assert model_of(federation).release_asked_by is None


def test_a_damaged_supplement_is_not_released(federation: SimulatedFederation) -> None:
    federation.run()
    model, coordinator = model_of(federation), federation.coordinator
    coordinator.persons.add("ada", Role.ADMINISTRATOR, actor="test", at=model.created_at)
    (blob,) = (
        file.blob
        for file in coordinator.models.files(model.model_id)
        if file.name == SupplementKind.PRIVACY.file
    )
    content = bytearray(coordinator.blobs.path(blob.digest).read_bytes())
    content[len(content) // 2] ^= 1
    coordinator.blobs.path(blob.digest).write_bytes(content)

    with pytest.raises(MammofedError):
        release(coordinator, model.model_id, actor="person:ada")

    assert model_of(federation).release_asked_by is None
