"""Publishing a run's model: one signed package, registered in one transaction."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from importlib.metadata import version

from server.coordinator import Coordinator
from server.curves import draw_curves
from server.model_card import write_model_card
from server.store import Checkpoint, Model, ModelFile, Run
from server.summary import summarize
from shared.appearance import pool as pool_appearances
from shared.evaluation.agreement import limits_of_agreement
from shared.evaluation.pooling import pool as pool_evaluations
from shared.evaluation.records import PairedMoments
from shared.package import (
    CURVES,
    MANIFEST,
    MANIFEST_TYPE,
    METRICS,
    MODEL_CARD,
    PLAN,
    REFERENCE,
    SIGNATURE,
    WEIGHTS,
    Manifest,
    ManifestFile,
)
from shared.plan import Plan
from shared.records import Phase
from shared.reference import DensityLimits, Reference
from shared.trust.envelope import sign

LEAST_FOR_LIMITS = 20
"""Images without which limits of agreement say more of chance than of the model."""


def publish(coordinator: Coordinator, run: Run, final: Checkpoint) -> Model:
    """Make the signed package of a run's last weights and register it."""
    now = datetime.now(UTC)
    model_id = f"{run.name}-{run.run_id.removeprefix('run-')}"
    software = f"mammofed {version('mammofed')}, flwr {version('flwr')}, torch {version('torch')}"
    summary = summarize(run, coordinator)
    created_at = now.isoformat(timespec="seconds")
    card = write_model_card(
        model_id, summary, Plan.from_toml(run.plan_toml), created_at=created_at, software=software
    )
    blobs = {
        WEIGHTS: final.weights,
        PLAN: coordinator.blobs.put_bytes(run.plan_toml.encode()),
        MODEL_CARD: coordinator.blobs.put_bytes(card.encode()),
        REFERENCE: coordinator.blobs.put_bytes(reference_of(run.run_id, coordinator).to_bytes()),
        METRICS: coordinator.blobs.put_bytes(json.dumps(summary.to_json(), indent=2).encode()),
        CURVES: coordinator.blobs.put_bytes(draw_curves(summary)),
    }
    manifest = Manifest(
        model_id=model_id,
        run_id=run.run_id,
        plan_sha256=run.plan_sha256,
        coordinator=coordinator.name,
        created_at=created_at,
        software=software,
        files=[
            ManifestFile(name=name, sha256=blob.digest, size_bytes=blob.size_bytes)
            for name, blob in sorted(blobs.items())
        ],
    ).to_bytes()
    signature = sign(MANIFEST_TYPE, manifest, coordinator.signing_key).to_bytes()
    blobs[MANIFEST] = coordinator.blobs.put_bytes(manifest)
    blobs[SIGNATURE] = coordinator.blobs.put_bytes(signature)
    model = Model(
        model_id=model_id,
        run_id=run.run_id,
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
        created_at=now.timestamp(),
    )
    files = [ModelFile(name=name, blob=blob) for name, blob in blobs.items()]
    coordinator.models.publish(model, files)
    return model


def reference_of(run_id: str, coordinator: Coordinator) -> Reference:
    """What follows from the sites' last words on a run's final weights, pooled; nothing of a single site."""
    last = {
        answer.site_id: answer.contribution
        for answer in coordinator.runs.answers(run_id)
        if answer.phase is Phase.EVALUATE and answer.contribution is not None
    }
    appearances = [each.appearance for each in last.values() if each.appearance is not None]
    tested = pool_evaluations([each.evaluation for each in last.values() if each.evaluation is not None])
    return Reference(
        appearance=pool_appearances(appearances),
        density_limits=None if tested is None else _density_limits(tested.percent_density),
    )


def _density_limits(density: PairedMoments | None) -> DensityLimits | None:
    if density is None or density.num_images < LEAST_FOR_LIMITS:
        return None
    limits = limits_of_agreement(density)
    assert limits is not None
    lower, upper = (max(-100.0, min(100.0, limit)) for limit in limits)
    return DensityLimits(lower=lower, upper=upper, num_images=density.num_images)
