"""A run starts from weights that the coordinator gives: read strictly, named in the plan, kept until used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from server.initial_weights import read_initial_weights
from server.registry import download
from server.store import Run
from server.submission import submit, with_privacy_settled
from shared.errors import (
    AggregationError,
    NonFiniteError,
    NotFoundError,
    PlanError,
    StoreError,
    TamperedError,
    TrustError,
    WeightsError,
)
from shared.model import Weights, initial_model
from shared.model.weights import to_bytes, weights_of
from shared.package import WEIGHTS
from shared.plan import Plan
from tests.unit.server.simulated_federation import RUN_ID, SimulatedFederation, small_plan

PLAN = small_plan(1)
OTHER_SEED = PLAN.model_copy(update={"seed": 11})


def weights() -> Weights:
    """Of another seed than the plan's."""
    return weights_of(initial_model(OTHER_SEED))


def part_of(given: Weights) -> Weights:
    """The first half of the tensors, as an encoder would be."""
    names = sorted(given)
    return {name: given[name] for name in names[: len(names) // 2]}


def read(content: bytes, federation: SimulatedFederation, *, partial: bool = False) -> Weights:
    file = federation.home.folder / "given"
    file.write_bytes(content)
    return read_initial_weights(file, PLAN, federation.coordinator.anchors, partial=partial)


def submitted(federation: SimulatedFederation, initial: Weights, plan: Plan = PLAN) -> Run:
    run = submit(federation.coordinator, plan, actor="person:ada", initial=initial)
    federation.approve(run)
    return run


def same(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# -- reading


def test_a_file_of_the_networks_weights_is_read(federation: SimulatedFederation) -> None:
    assert same(read(to_bytes(weights()), federation), weights())


def test_a_published_model_is_verified_and_read(federation: SimulatedFederation, tmp_path: Path) -> None:
    federation.run()
    (model,) = federation.coordinator.models.all()
    folder = tmp_path / "model"
    download(federation.coordinator, model.model_id, folder, actor="test")
    anchors = federation.coordinator.anchors

    assert same(
        read_initial_weights(folder, PLAN, anchors), federation.weights(federation.checkpoint.weights)
    )

    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(TamperedError):
        read_initial_weights(folder, PLAN, anchors)
    (folder / WEIGHTS).unlink()
    with pytest.raises(NotFoundError):
        read_initial_weights(folder, PLAN, anchors)


def test_a_model_of_another_coordinator_is_not_read(found_federation, tmp_path: Path) -> None:
    federation, other = found_federation(1), found_federation(1)
    other.run()
    (model,) = other.coordinator.models.all()
    download(other.coordinator, model.model_id, tmp_path / "model", actor="test")

    with pytest.raises(TrustError, match="another key"):
        read_initial_weights(tmp_path / "model", PLAN, federation.coordinator.anchors)


def without_first(given: Weights) -> Weights:
    return dict(sorted(given.items())[1:])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_first, "1 of .* tensors are missing, the first is"),
        (lambda given: {**given, "extra": torch.zeros(1)}, "the network has no tensor 'extra'"),
        (lambda given: {name: tensor.double() for name, tensor in given.items()}, "is not float32"),
        (lambda given: {name: tensor.unsqueeze(0) for name, tensor in given.items()}, "in the network"),
        (lambda _given: {}, "holds no tensor"),
    ],
    ids=["a tensor is missing", "a tensor too many", "float64", "other shapes", "empty"],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(
    change, words: str, federation: SimulatedFederation
) -> None:
    with pytest.raises(WeightsError, match=words) as caught:
        read(to_bytes(change(weights())), federation)

    assert "\n" not in caught.value.message


@pytest.mark.parametrize("content", [b"", b"no weights", b"\x80\x04cos\nsystem\n"])
def test_what_is_no_safetensors_is_refused(content: bytes, federation: SimulatedFederation) -> None:
    with pytest.raises(WeightsError, match="not safetensors"):
        read(content, federation)


def test_weights_that_are_not_finite_are_refused(federation: SimulatedFederation) -> None:
    given = weights()
    given[min(given)].view(-1)[0] = float("nan")

    with pytest.raises(NonFiniteError):
        read(to_bytes(given), federation)


def test_a_file_that_is_not_there_is_told(federation: SimulatedFederation, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        read_initial_weights(tmp_path / "none", PLAN, federation.coordinator.anchors)


def test_a_part_of_the_network_is_taken_and_the_rest_drawn_from_the_plans_seed(
    federation: SimulatedFederation,
) -> None:
    part = part_of(weights())

    taken = read(to_bytes(part), federation, partial=True)

    drawn = weights_of(initial_model(PLAN))
    assert 0 < len(part) < len(taken) == len(drawn)
    assert same(taken, {**drawn, **part})


def test_a_part_that_is_of_another_network_is_refused(federation: SimulatedFederation) -> None:
    with pytest.raises(WeightsError, match=r"has no tensor 'fc\.weight'"):
        read(to_bytes({**part_of(weights()), "fc.weight": torch.zeros(3)}), federation, partial=True)


# -- the run


def test_the_digest_of_the_weights_is_in_the_plan_and_the_first_round_starts_from_them(
    federation: SimulatedFederation,
) -> None:
    run = submitted(federation, weights())

    federation.run(run.run_id)

    plan = Plan.from_toml(run.plan_toml)
    first = next(one for one in federation.coordinator.runs.rounds(run.run_id) if one.number == 1)
    assert plan.initial_weights == run.initial_digest == first.base.digest
    assert same(federation.weights(first.base), weights())
    settled = with_privacy_settled(PLAN, num_sites=len(federation.sites))
    assert plan.model_copy(update={"initial_weights": None}) == settled


def test_the_same_weights_have_the_same_digest_whatever_file_they_came_in(
    federation: SimulatedFederation,
) -> None:
    given = weights()
    backwards = dict(sorted(given.items(), reverse=True))

    assert submitted(federation, given).plan_sha256 == submitted(federation, backwards).plan_sha256


def test_weights_of_a_run_that_waits_are_kept_while_another_goes_on(federation: SimulatedFederation) -> None:
    run = submit(federation.coordinator, PLAN, actor="person:ada", initial=weights())

    federation.run()  # the other run, which forgets all that no run names at the end of each round

    federation.approve(run)
    federation.run(run.run_id)
    assert federation.coordinator.models.of_run(run.run_id) is not None


def test_a_run_whose_weights_are_gone_fails_and_says_so(federation: SimulatedFederation) -> None:
    run = submitted(federation, weights())
    assert run.initial_digest is not None
    federation.coordinator.blobs.remove(run.initial_digest)

    with pytest.raises(AggregationError, match="not in the coordinator's store"):
        federation.run(run.run_id)


def test_a_plan_that_names_weights_is_started_with_just_those(federation: SimulatedFederation) -> None:
    named = Plan.from_toml(submitted(federation, weights()).plan_toml)

    again = submit(federation.coordinator, named, actor="person:ada", initial=weights())

    assert again.plan_sha256 == named.sha256
    with pytest.raises(PlanError, match="names other initial weights"):
        submit(federation.coordinator, named, actor="test", initial=weights_of(initial_model(PLAN)))
    with pytest.raises(PlanError, match="names initial weights"):
        submit(federation.coordinator, named, actor="test")
    assert len(federation.coordinator.runs.all()) == 3


def test_a_plan_that_goes_on_from_a_run_is_not_started_as_one_of_its_own(
    federation: SimulatedFederation,
) -> None:
    child = {"parent": "a" * 64, "initial_weights": "b" * 64, "extends": (RUN_ID,)}

    with pytest.raises(PlanError, match="goes on from another run"):
        submit(federation.coordinator, PLAN.model_copy(update=child), actor="test")
