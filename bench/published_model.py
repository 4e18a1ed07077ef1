"""A published model and a site that trusts its coordinator, without the federation that made them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from client.enrolment import Membership
from client.home import SiteHome
from shared.band_calibration import BandCalibration
from shared.files import write_file
from shared.model import Weights, initial_model
from shared.model.weights import to_bytes, weights_of
from shared.package import (
    MANIFEST,
    MANIFEST_TYPE,
    PLAN,
    SIGNATURE,
    WEIGHTS,
    Manifest,
    ManifestFile,
)
from shared.plan import Plan
from shared.reference import Reference
from shared.supplements import Calibration, Content, Limits, Supplement
from shared.transfer.blob_ref import BlobRef
from shared.trust.anchors import Anchors
from shared.trust.envelope import sign
from shared.trust.issuing import new_root
from shared.trust.keys import SigningKey, TlsKey

PLAN_TOML = Plan.from_toml(
    'name = "test"\nrounds = {count = 1}\nmodel = {size = "tiny", input_height_px = 128, input_width_px = 64}'
)


def join(folder: Path, key: SigningKey) -> SiteHome:
    """A site's home that has joined the coordinator with this key."""
    home = SiteHome(folder)
    home.write_membership(
        Membership(
            site_id="site-1",
            site_name="kuopio",
            certificate_pem=b"-",
            anchors=Anchors(
                roots_pem=(new_root(federation_name="Test", key=TlsKey.generate(), now=time.time()),),
                signing_key=key.verify_key,
            ),
            coordinator_name="Test",
            fleet_address="127.0.0.1:1",
            transfer_address="127.0.0.1:2",
        )
    )
    return home


def publish(
    folder: Path,
    key: SigningKey,
    alter: Callable[[Weights], Weights] = lambda weights: weights,
    plan: Plan = PLAN_TOML,
    calibration: BandCalibration | None = None,
    *,
    reference: Reference | None = None,
    model_id: str = "test-1",
    run_id: str = "run-1",
) -> Path:
    """A model's folder, signed with this key; the weights are the initial ones, as altered."""
    files = {
        WEIGHTS: to_bytes(alter(weights_of(initial_model(plan)))),
        PLAN: plan.to_toml().encode(),
    }
    manifest = Manifest(
        model_id=model_id,
        run_id=run_id,
        plan_sha256=plan.sha256,
        coordinator="Test",
        created_at="2026-01-01T00:00:00+00:00",
        software="test",
        files=[
            ManifestFile(name=name, sha256=BlobRef.of(content).digest, size_bytes=len(content))
            for name, content in files.items()
        ],
    ).to_bytes()
    files |= {MANIFEST: manifest, SIGNATURE: sign(MANIFEST_TYPE, manifest, key).to_bytes()}
    contents: list[Content] = [
        Limits(reference=reference or Reference()),
        Calibration(dense={}, bands=calibration),
    ]
    for content in contents:
        supplement = Supplement(
            model_id=model_id,
            manifest_sha256=BlobRef.of(manifest).digest,
            made_at="2026-01-01T00:00:00+00:00",
            content=content,
        )
        files[supplement.kind.file] = supplement.signed(key)
    for name, file in files.items():
        write_file(folder / name, file)
    return folder
