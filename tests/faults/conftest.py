"""The federation that is broken and must go on: the one that the end-to-end tests use as well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.home import SiteHome
from tests.e2e.small_federation import SmallFederation, shared_federation
from tests.faults.line import Line, line_of
from tests.faults.reckoning import Witness


@pytest.fixture
def federation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallFederation:
    """The session's federation, all of it running."""
    return shared_federation(request.config, tmp_path_factory)


@pytest.fixture
def witness(federation: SmallFederation, tmp_path: Path) -> Iterator[Witness]:
    """Keeps what the federation's sites send during a test."""
    with Witness(federation=federation, folder=tmp_path / "sent").watching() as watching:
        yield watching


@pytest.fixture
def line(federation: SmallFederation) -> Iterator[Line]:
    """The line of one site, `hospital-north`, to the coordinator."""
    role = federation.sites["hospital-north"]
    role.stop()
    with line_of([SiteHome(role.home)]) as led:
        role.start()
        yield led
        led.mend()
        role.stop()
    role.start()
