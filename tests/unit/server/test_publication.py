"""What stands in the passport of a published model about its density bands, and where it comes from."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import pytest

from server.supplements import supplements_of
from shared.evaluation.records import DensityCategories, ExpectedBand
from shared.package import LINEAGE, MODEL_CARD
from shared.plan import CategorySource
from shared.records import Phase
from shared.supplements import Calibration, SupplementKind
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


def published(folder: Path, source: CategorySource | None) -> tuple[Calibration, dict[str, bytes]]:
    """Calibration and files of a federation's model, whose sites tell of good bands."""
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
    calibration = supplements_of(federation.coordinator, model)[SupplementKind.CALIBRATION].content
    assert isinstance(calibration, Calibration)
    return calibration, files


def test_a_calibration_on_readers_categories_is_signed_as_a_supplement(tmp_path: Path) -> None:
    calibration, files = published(tmp_path, "readers")

    assert calibration.bands is not None
    assert (calibration.bands.num_sites, calibration.bands.num_images) == (3, 300)
    assert "calibrated on readers' BI-RADS categories of 300 images of 3 sites" in calibration.lines[-1]
    assert "unless the supplement on calibration says otherwise" in files[MODEL_CARD].decode()


@pytest.mark.parametrize(
    ("source", "words"),
    [(None, "uncalibrated: cut-points"), ("simulated", "learnt from simulated categories")],
)
def test_without_readers_nothing_of_a_model_says_their_word_however_well_its_bands_agree(
    tmp_path: Path, source: CategorySource | None, words: str
) -> None:
    calibration, files = published(tmp_path, source)

    assert calibration.bands is None
    assert f"| Density bands | {words}" in files[MODEL_CARD].decode()
    for content in [*files.values(), calibration.model_dump_json().encode()]:
        assert b"rads" not in content.lower()


def test_the_lineage_names_rounds_receipts_and_software(tmp_path: Path) -> None:
    federation = SimulatedFederation(tmp_path, small_plan(2))
    federation.run()
    model = federation.coordinator.models.of_run(RUN_ID)
    assert model is not None
    (blob,) = (
        file.blob for file in federation.coordinator.models.files(model.model_id) if file.name == LINEAGE
    )
    told = json.loads(federation.coordinator.blobs.path(blob.digest).read_bytes())

    assert [one["number"] for one in told["rounds"]] == [1, 2]
    assert told["rounds"][1]["base"] == told["rounds"][0]["aggregate"]
    for one in told["rounds"]:
        # What each site has signed in this round is known to the site, too.
        receipts = {receipt["site"]: receipt["envelope_sha256"] for receipt in one["receipts"]}
        assert receipts == {
            name: hashlib.sha256(site.said[one["number"] - 1]).hexdigest()
            for name, site in federation.sites.items()
        }
    assert told["software"]["mammofed"] == version("mammofed")
    assert told["parents"] == []
