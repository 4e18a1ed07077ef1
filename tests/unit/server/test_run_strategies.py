"""Runs under each strategy: interrupted, in any order of answers, with a hostile site."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from server.lifecycle import RunState
from server.strategies import STRATEGIES
from shared.model import initial_model
from shared.model.sent import local_names
from shared.model.weights import weights_of
from shared.plan import AggregationPlan, Plan
from shared.records import Phase
from tests.unit.server.simulated_federation import (
    Asked,
    SimulatedFederation,
    SimulatedSite,
    fail,
    honest,
    small_plan,
)

Make = Callable[..., SimulatedFederation]
PATIENT_S = 60.0
"""For rounds in which every site answers, however slow the machine."""


FIVE = dict.fromkeys(("aarhus", "bergen", "cork", "derry", "evora"), 10)


def plan_with(strategy: str, **settings: object) -> Plan:
    """Three rounds of five sites, all of which must answer."""
    aggregation = AggregationPlan.model_validate({"strategy": strategy, **settings})
    return Plan.model_validate(
        {
            **small_plan(3, quorum=len(FIVE), timeout_s=PATIENT_S).model_dump(),
            "aggregation": aggregation.model_dump(),
        }
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("bits", [pytest.param(8, marks=pytest.mark.slow), 16])
def test_a_run_under_any_strategy_goes_on_after_an_interruption_to_the_bytes_of_a_calm_one(
    strategy: str, bits: int, tmp_path
) -> None:
    plan = plan_with(strategy, bits=bits)
    calm = SimulatedFederation(tmp_path / "calm", plan, FIVE)
    interrupted = SimulatedFederation(tmp_path / "interrupted", plan, FIVE)
    for name in ("derry", "evora"):  # the same sites compute in the same attempts
        calm[name].does(fail, honest, in_round=2)
    calm.run()
    interrupted.channel.breaks_in_round, interrupted.channel.num_asked_before = 2, 3
    with pytest.raises(ConnectionError):
        interrupted.run()

    interrupted.resume()

    assert interrupted.state is RunState.FINISHED
    assert interrupted.checkpoint == calm.checkpoint


def alike(site: SimulatedSite, asked: Asked) -> bytes:
    """The same update from every second site, so that scores of multi-krum are tied."""
    if asked.occasion.phase is not Phase.TRAIN:
        return honest(site, asked)
    word = (site.node_id % 2) / 100
    return site.contribute(asked, {name: torch.full(shape, word) for name, shape in asked.sent.items()})


@pytest.mark.parametrize(
    ("strategy", "bits", "deed"),
    [
        *((strategy, bits, honest) for strategy in STRATEGIES for bits in (8, 16)),
        pytest.param("multi_krum", 16, alike, id="multi_krum of tied scores"),
    ],
)
def test_the_order_in_which_answers_arrive_does_not_change_a_byte(
    strategy: str, bits: int, deed, tmp_path
) -> None:
    in_order, reversed_order = (
        SimulatedFederation(tmp_path / name, plan_with(strategy, bits=bits), FIVE) for name in "ir"
    )
    reversed_order.channel.latest_first = True

    for federation in (in_order, reversed_order):
        for site in federation.sites.values():
            site.does(deed)
        federation.run()

    arrivals = [reversed_order.answers_of(name, 1)[0].answered_at for name in FIVE]
    assert arrivals == sorted(arrivals, reverse=True)
    assert arrivals[0] > arrivals[-1]
    assert in_order.checkpoint == reversed_order.checkpoint


@pytest.mark.parametrize("strategy", ["trimmed_mean", "median", "multi_krum"])
def test_a_site_that_sends_the_largest_values_does_not_move_a_robust_aggregate(
    strategy: str, tmp_path
) -> None:
    def attack(site: SimulatedSite, asked: Asked) -> bytes:
        update = {name: torch.full_like(tensor, 1e30) for name, tensor in asked.base.items()}
        return site.contribute(asked, update)

    federation = SimulatedFederation(tmp_path / "home", plan_with(strategy), FIVE)
    federation["cork"].does(attack, in_round=1)

    federation.run()

    base = federation.weights(federation.base_of(1))
    for name, tensor in federation.weights(federation.aggregate_of(1)).items():
        assert (tensor - base[name]).abs().max() < 0.1  # honest changes are 0.01 wide


def test_fedbn_leaves_normalisation_layers_as_they_were(tmp_path) -> None:
    federation = SimulatedFederation(tmp_path / "home", plan_with("fedbn"), FIVE)

    federation.run()

    first = weights_of(initial_model(federation.plan))
    local = local_names(initial_model(federation.plan), federation.plan.aggregation)
    final = federation.weights(federation.checkpoint.weights)
    assert local
    assert {name for name, tensor in final.items() if torch.equal(tensor, first[name])} == local
