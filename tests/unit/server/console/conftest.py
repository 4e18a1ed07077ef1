"""A console for every test of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from argon2 import PasswordHasher

import server.console.passwords
from tests.unit.server.console.console import Console


@pytest.fixture(autouse=True)
def hashed_in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> PasswordHasher:
    """The real hash at its cheapest; returns it as it is."""
    real = server.console.passwords._hasher
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(server.console.passwords, "_hasher", cheap)
    server.console.passwords.nobodys.cache_clear()
    return real


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console(tmp_path / "home")
