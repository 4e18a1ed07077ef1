"""The federation that the end-to-end tests share."""

from __future__ import annotations

import pytest

from tests.e2e.small_federation import SmallFederation, shared_federation


@pytest.fixture
def federation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallFederation:
    """The session's federation, all of it running."""
    return shared_federation(request.config, tmp_path_factory)
