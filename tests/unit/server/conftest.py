"""A simulated federation for every test of the coordinator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import server.exchange
import server.publication
import server.rounds
import server.session
from shared.model.networks import ARCHITECTURES, Architecture
from tests.unit.server.simulated_federation import SITES, SimulatedFederation, small_plan

SMALLEST = Architecture(stem_stride=2, channels=(4, 8), encoder_depth=1, decoder_depth=1)


@pytest.fixture(scope="module", autouse=True)
def in_a_hurry():
    """Shorter pauses, the real network at its smallest, and no picture, which takes longer than the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server.exchange, "POLL_S", 0.01)
        patch.setattr(server.exchange, "PRESENCE_POLL_S", 0.03)
        patch.setattr(server.session, "GATHER_POLL_S", 0.03)
        patch.setattr(server.rounds, "GATHER_S", 0.1)
        patch.setattr(server.publication, "draw_curves", lambda _summary: b"picture")
        patch.setitem(ARCHITECTURES, "tiny", SMALLEST)
        yield


@pytest.fixture
def found_federation(tmp_path: Path) -> Callable[..., SimulatedFederation]:
    """Makes federations, each with a run of so many rounds."""
    founded = []

    def make(
        rounds: int = 2, *, quorum: int = 2, timeout_s: float = 5, sites: Mapping[str, int] = SITES
    ) -> SimulatedFederation:
        folder = tmp_path / f"home-{len(founded)}"
        plan = small_plan(rounds, quorum=quorum, timeout_s=timeout_s)
        founded.append(SimulatedFederation(folder, plan, sites))
        return founded[-1]

    return make


@pytest.fixture
def federation(found_federation: Callable[..., SimulatedFederation]) -> SimulatedFederation:
    """Three sites and a run of two rounds."""
    return found_federation()
