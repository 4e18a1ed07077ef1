"""What several rooms of these tests begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.member_coordinator import MemberCoordinator


@pytest.fixture
def members(tmp_path: Path) -> Iterator[MemberCoordinator]:
    """A coordinator that answers its members over real TLS."""
    coordinator = MemberCoordinator(tmp_path / "coordinator")
    yield coordinator
    coordinator.stop()
