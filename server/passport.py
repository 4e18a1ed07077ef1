"""Where a model comes from, as its package says it: parents, rounds, receipts of participation, software."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from typing import Any

from server.coordinator import Coordinator
from server.lifecycle import RoundState
from server.store import Run
from server.store.outcomes import Receipt
from server.summary import names_of
from shared.plan import Plan
from shared.records import Phase

SOFTWARE = ("mammofed", "flwr", "torch", "numpy", "safetensors")


def passport_of(coordinator: Coordinator, run: Run, plan: Plan) -> dict[str, Any]:
    """JSON values. A receipt is the SHA-256 of the envelope that a site has signed; it knows it, too."""
    names = names_of(coordinator)
    receipts = dict[tuple[int, int], list[Receipt]]()
    for one in coordinator.outcomes.receipts(run.run_id):
        receipts.setdefault((one.number, one.attempt), []).append(one)
    return {
        "run_id": run.run_id,
        "plan_sha256": run.plan_sha256,
        "parents": [_parent(coordinator, run_id) for run_id in plan.extends or ()],
        "initial_weights": plan.initial_weights,
        "rounds": [
            {
                "number": one.number,
                "attempt": one.attempt,
                "base": one.base.digest,
                "aggregate": None if one.aggregate is None else one.aggregate.digest,
                "receipts": [
                    {"site": names[each.site_id], "envelope_sha256": each.envelope_sha256}
                    for each in receipts.get((one.number, one.attempt), [])
                ],
            }
            for one in coordinator.runs.rounds(run.run_id)
            if one.phase is Phase.TRAIN and one.state is RoundState.AGGREGATED
        ],
        "software": {"python": platform.python_version(), **{name: version(name) for name in SOFTWARE}},
    }


def _parent(coordinator: Coordinator, run_id: str) -> dict[str, str | None]:
    model = coordinator.models.of_run(run_id)
    return {
        "run_id": run_id,
        "model_id": model.model_id if model else None,
        "manifest_sha256": model.manifest_sha256 if model else None,
    }


def to_json(document: dict[str, Any]) -> bytes:
    """A file of the package."""
    return json.dumps(document, indent=2).encode()
