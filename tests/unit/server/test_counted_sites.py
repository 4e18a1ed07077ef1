"""Sites that count their examples: once, when they come, and what they weigh from then on."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from server.lifecycle import RunState
from shared.errors import (
    QuorumError,
)
from shared.records import Phase
from tests.unit.server.simulated_federation import (
    RUN_ID,
    Asked,
    SimulatedFederation,
    SimulatedSite,
    honest,
    refuse,
)

Make = Callable[..., SimulatedFederation]
PATIENT_S = 60.0
"""For rounds in which every site answers, however slow the machine."""


def test_sites_are_counted_once_and_a_small_one_weighs_a_tenth_of_the_largest(
    found_federation: Make,
) -> None:
    federation = found_federation(2, sites={"aarhus": 1, "bergen": 100})

    federation.run()

    terms = {
        (name, number): federation[name].trained[number].terms
        for name in ("aarhus", "bergen")
        for number in (1, 2)
    }
    assert {place: (each.weight, each.total) for place, each in terms.items()} == {
        ("aarhus", 1): (100, 1100),
        ("aarhus", 2): (100, 1100),
        ("bergen", 1): (1000, 1100),
        ("bergen", 2): (1000, 1100),
    }
    counts = [each for each in federation.coordinator.runs.answers(RUN_ID) if each.phase is Phase.COUNT]
    assert len(counts) == 2


def test_a_site_that_comes_later_is_counted_then_and_changes_no_others_share(
    found_federation: Make,
) -> None:
    federation = found_federation(2)
    federation["aarhus"].online_since = None

    def arrive(site: SimulatedSite, asked: Asked) -> bytes:
        federation["aarhus"].online_since = time.time() - 1
        return honest(site, asked)

    federation["cork"].does(arrive, in_round=1)

    federation.run()

    # 300 and 600 at the start; the late one adds ten times its ten examples
    assert {
        name: (federation[name].trained[2].terms.weight, federation[name].trained[2].terms.total)
        for name in ("aarhus", "bergen", "cork")
    } == {"aarhus": (100, 900), "bergen": (300, 900), "cork": (600, 900)}
    expected = federation.honest_mean(2, "aarhus", "bergen", "cork")
    for name, tensor in federation.weights(federation.aggregate_of(2)).items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)


def test_a_run_whose_sites_do_not_count_their_examples_says_so(federation: SimulatedFederation) -> None:
    for site in federation.sites.values():
        site.counts = refuse

    with pytest.raises(QuorumError, match="No site counts its examples"):
        federation.run()

    assert federation.state is RunState.FAILED
