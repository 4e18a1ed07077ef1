"""What is kept of finished runs, by the coordinator's settings; published models stay in any case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from server.registry import download
from tests.unit.server.simulated_federation import RUN_ID, SimulatedFederation


@pytest.mark.parametrize(("checkpoints", "stays"), [("all", True), ("last", False)])
def test_earlier_checkpoints_of_a_finished_run_stay_or_go_and_the_model_stays(
    found_federation: Callable[..., SimulatedFederation], tmp_path: Path, checkpoints: str, stays: bool
) -> None:
    federation = found_federation(2)
    federation.coordinator = replace(federation.coordinator, checkpoints=checkpoints)

    federation.run()

    blobs, last = federation.coordinator.blobs, federation.checkpoint
    assert blobs.has(federation.aggregate_of(1).digest) is stays
    assert blobs.has(federation.base_of(1).digest) is stays
    assert blobs.has(last.weights.digest)
    assert blobs.has(last.state.digest)
    model = federation.coordinator.models.of_run(RUN_ID)
    assert model is not None
    download(federation.coordinator, model.model_id, tmp_path / "model", actor="test")
