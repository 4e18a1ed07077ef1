"""A simulated federation for every test of the coordinator."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

import server.exchange
import server.publication
import server.rounds
import server.session
from shared.files import write_file
from shared.model.networks import ARCHITECTURES, Architecture
from shared.plan import Plan
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
        patch.setattr(server.publication, "draw_curves", lambda _summary, _lines: b"picture")
        patch.setitem(ARCHITECTURES, "tiny", SMALLEST)
        yield


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """Where federations have their state: "sqlite", or "postgresql" where a module asks for both."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def found_federation(
    tmp_path: Path, database_kind: str, request: pytest.FixtureRequest
) -> Iterator[Callable[..., SimulatedFederation]]:
    """Makes federations, each with a database of its own and a run of so many rounds."""
    with contextlib.ExitStack() as databases:
        founded = []

        def new_database_file() -> Path | None:
            if database_kind == "sqlite":
                return None
            database = request.getfixturevalue("postgresql").new_database()
            address: SecretStr = databases.enter_context(database)
            file = tmp_path / f"database-{len(founded)}"
            write_file(file, address.get_secret_value().encode())
            return file

        def make(
            rounds: int = 2,
            *,
            quorum: int = 2,
            timeout_s: float = 5,
            sites: Mapping[str, int] = SITES,
            plan: Plan | None = None,
        ) -> SimulatedFederation:
            folder = tmp_path / f"home-{len(founded)}"
            plan = plan or small_plan(rounds, quorum=quorum, timeout_s=timeout_s)
            founded.append(SimulatedFederation(folder, plan, sites, database_file=new_database_file()))
            return founded[-1]

        yield make


@pytest.fixture
def federation(found_federation: Callable[..., SimulatedFederation]) -> SimulatedFederation:
    """Three sites and a run of two rounds."""
    return found_federation()
