"""What stands in the passport of a published model about its density bands."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.evaluation.records import DensityCategories, ExpectedBand
from shared.package import MANIFEST, MODEL_CARD, Manifest
from shared.plan import CategorySource
from shared.records import Phase
from tests.unit.server.simulated_federation import (
    EVALUATION,
    RUN_ID,
    Asked,
    SimulatedFederation,
    SimulatedSite,
    honest,
    small_plan,
)

PAIRS = {
    "num_images": 100,
    "mean_measured": 1.5,
    "mean_expert": 1.5,
    "variance_measured": 1.0,
    "variance_expert": 1.0,
    "covariance": 0.8,
    "mean_absolute_difference": 0.3,
}
GOOD = EVALUATION.model_copy(
    update={
        "num_examples": 100,
        "density_categories": DensityCategories(
            **PAIRS, num_in_rarest=10, expected=ExpectedBand(**{**PAIRS, "variance_measured": 0.8})
        ),
    }
)


def tells_of_good_bands(site: SimulatedSite, asked: Asked) -> bytes:
    """Measures the final model on many images with categories."""
    if asked.occasion.phase is not Phase.EVALUATE:
        return honest(site, asked)
    return site.signed(site.contribution(asked, None).model_copy(update={"evaluation": GOOD}))


def published(folder: Path, source: CategorySource | None) -> tuple[Manifest, dict[str, bytes]]:
    """Manifest and files of a federation's model, whose sites tell of good bands."""
    plan = small_plan(1)
    plan = plan.model_copy(update={"model": plan.model.model_copy(update={"density_band": source})})
    federation = SimulatedFederation(folder, plan)
    for site in federation.sites.values():
        site.does(tells_of_good_bands)
    federation.run()
    models = federation.coordinator.models
    model = models.of_run(RUN_ID)
    assert model is not None
    files = {
        file.name: federation.coordinator.blobs.path(file.blob.digest).read_bytes()
        for file in models.files(model.model_id)
    }
    return Manifest.model_validate_json(files[MANIFEST]), files


def test_a_calibration_on_readers_categories_stands_in_the_passport_and_on_the_card(tmp_path: Path) -> None:
    manifest, files = published(tmp_path, "readers")

    assert manifest.band_calibration is not None
    assert (manifest.band_calibration.num_sites, manifest.band_calibration.num_images) == (3, 300)
    assert "calibrated on readers' BI-RADS categories of 300 images of 3 sites" in files[MODEL_CARD].decode()


@pytest.mark.parametrize(
    ("source", "words"),
    [(None, "uncalibrated: cut-points"), ("simulated", "uncalibrated: learnt from simulated categories")],
)
def test_without_readers_nothing_of_a_model_says_their_word_however_well_its_bands_agree(
    tmp_path: Path, source: CategorySource | None, words: str
) -> None:
    manifest, files = published(tmp_path, source)

    assert manifest.band_calibration is None
    assert f"| Density bands | {words}" in files[MODEL_CARD].decode()
    for content in files.values():
        assert b"rads" not in content.lower()
