"""Publishing a run's model: one signed package, registered in one transaction, before its evaluation."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from importlib.metadata import version

from server.coordinator import Coordinator
from server.curves import draw_curves
from server.guarantees import guarantees
from server.learning_curves import lines_of
from server.model_card import write_model_card
from server.passport import passport_of, to_json
from server.run_document import run_document
from server.store import Checkpoint, Model, ModelFile, Run
from server.summary import summarize
from shared.errors import AggregationError, ConfigError
from shared.model import blank_model, model_around
from shared.model.weights import load
from shared.package import (
    CURVES,
    LINEAGE,
    MANIFEST,
    MANIFEST_TYPE,
    METRICS,
    MODEL_CARD,
    PLAN,
    SIGNATURE,
    WEIGHTS,
    Manifest,
    ManifestFile,
)
from shared.plan import Plan
from shared.records import Phase
from shared.trust.envelope import sign

log = logging.getLogger(__name__)


def publish(coordinator: Coordinator, run: Run, final: Checkpoint) -> Model:
    """Make the signed package of a run's last weights and register it, a candidate."""
    now = datetime.now(UTC)
    model_id = f"{run.name}-{run.run_id.removeprefix('run-')}"
    software = f"mammofed {version('mammofed')}, flwr {version('flwr')}, torch {version('torch')}"
    summary, lines = summarize(run, coordinator), lines_of(coordinator, run.run_id)
    created_at = now.isoformat(timespec="seconds")
    plan = Plan.from_toml(run.plan_toml)
    trained = coordinator.runs.answers(run.run_id, Phase.TRAIN)
    card = write_model_card(
        model_id,
        summary,
        lines,
        plan,
        privacy=guarantees(plan, trained, num_rounds=summary.num_finished),
        created_at=created_at,
        software=software,
    )
    blobs = {
        WEIGHTS: final.weights,
        PLAN: coordinator.blobs.put_bytes(run.plan_toml.encode()),
        MODEL_CARD: coordinator.blobs.put_bytes(card.encode()),
        LINEAGE: coordinator.blobs.put_bytes(to_json(passport_of(coordinator, run, plan))),
        METRICS: coordinator.blobs.put_bytes(to_json(run_document(summary, coordinator))),
        CURVES: coordinator.blobs.put_bytes(draw_curves(summary, lines)),
        **{
            name: coordinator.blobs.put_bytes(content) for name, content in _exports(coordinator, plan, final)
        },
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


def _exports(coordinator: Coordinator, plan: Plan, final: Checkpoint) -> list[tuple[str, bytes]]:
    """The model's other forms; a form that cannot be made costs the forms, not the model."""
    if not coordinator.exports:
        return []
    # With it comes what exporters need: only who asks for forms waits for it.
    from server.exports import export

    try:
        like = blank_model(plan.model).state_dict()
        network = model_around(load(coordinator.blobs.path(final.weights.digest), like=like), plan.model)
        made = export(
            network,
            coordinator.exports,
            rows=plan.model.input_height_px,
            columns=plan.model.input_width_px,
        )
    except (AggregationError, ConfigError) as error:
        log.error("The model is published without other forms: %s %s", error.message, error.hint)
        return []
    return sorted(made.items())
