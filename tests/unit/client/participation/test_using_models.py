"""Using a published model at the site: verified first."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from client.home import SiteHome
from client.using import load_model
from shared.errors import HomeError, NonFiniteError, NotFoundError, TrustError, WeightsError
from shared.model import initial_model
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
from shared.trust.envelope import sign
from shared.trust.keys import SigningKey
from tests.unit.client.participation.conftest import PLAN as TRAINED_UNDER
from tests.unit.client.participation.conftest import MinimalCoordinator


def publish(
    folder: Path,
    key: SigningKey,
    weights: bytes | None = None,
    *,
    plan: Plan = TRAINED_UNDER,
    run_id: str = "run-1",
) -> Path:
    """A signed package of the plan's first weights, or of other bytes in their place."""
    contents = {
        PLAN: plan.to_toml().encode(),
        WEIGHTS: to_bytes(weights_of(initial_model(plan))) if weights is None else weights,
    }
    manifest = Manifest(
        model_id="density-1",
        run_id=run_id,
        plan_sha256=plan.sha256,
        coordinator="Test",
        created_at="2026-01-01T00:00:00+00:00",
        software="mammofed 0.1.0",
        files=[
            ManifestFile(name=name, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
            for name, content in contents.items()
        ],
    ).to_bytes()
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / MANIFEST).write_bytes(manifest)
    (folder / SIGNATURE).write_bytes(sign(MANIFEST_TYPE, manifest, key).to_bytes())
    return folder


def test_a_model_of_this_sites_coordinator_is_loaded_ready_to_segment(
    coordinator: MinimalCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    folder = publish(tmp_path / "model", coordinator.signing_key)

    model = load_model(home, folder)

    network = model.loaded.network
    assert not network.training
    assert model.package.manifest.model_id == "density-1"
    expected = weights_of(initial_model(TRAINED_UNDER))
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights_of(network).items())


def test_a_model_of_another_coordinator_is_refused(
    coordinator: MinimalCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    folder = publish(tmp_path / "model", SigningKey.generate())

    with pytest.raises(TrustError):
        load_model(home, folder)


@pytest.mark.parametrize("name", [WEIGHTS, PLAN, MANIFEST, SIGNATURE])
def test_a_model_with_one_flipped_byte_is_refused(
    name: str, coordinator: MinimalCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    file = publish(tmp_path / "model", coordinator.signing_key) / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

    with pytest.raises(TrustError):
        load_model(home, file.parent)


@pytest.mark.parametrize(
    ("weights", "error"),
    [
        (b"no weights", WeightsError),
        (to_bytes({"other": torch.zeros(2)}), WeightsError),
        ("nan", NonFiniteError),
    ],
)
def test_signed_weights_that_are_not_of_the_plans_network_are_refused(
    weights, error, coordinator: MinimalCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    if weights == "nan":
        broken = weights_of(initial_model(TRAINED_UNDER))
        next(iter(broken.values())).view(-1)[0] = float("nan")
        weights = to_bytes(broken)
    folder = publish(tmp_path / "model", coordinator.signing_key, weights)

    with pytest.raises(error):
        load_model(home, folder)


def test_a_site_that_has_not_joined_trusts_no_model(home: SiteHome, tmp_path: Path) -> None:
    folder = publish(tmp_path / "model", SigningKey.generate())

    with pytest.raises(HomeError):
        load_model(home, folder)


def test_a_folder_without_a_model_is_named_as_such(
    coordinator: MinimalCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError):
        load_model(home, tmp_path)
