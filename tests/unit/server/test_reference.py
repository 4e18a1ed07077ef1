"""What a published model brings to judge images by, from what the sites told at the end of its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from server.registry import download
from shared.appearance import QUANTITIES, Appearance, describe
from shared.reference import Reference
from tests.unit.server.simulated_federation import RUN_ID, SimulatedFederation

LARGE = {"aarhus": 70, "bergen": 50, "cork": 60}
Make = Callable[..., SimulatedFederation]


def looks(number: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((number, len(QUANTITIES)))


def published(federation: SimulatedFederation, folder: Path) -> Reference:
    """Run, and what the model's verified package brings."""
    federation.run()
    model = federation.coordinator.models.of_run(RUN_ID)
    assert model is not None
    return download(federation.coordinator, model.model_id, folder, actor="test").reference


@pytest.fixture
def federation(found_federation: Make) -> SimulatedFederation:
    return found_federation(1, sites=LARGE)


def test_the_looks_of_two_of_three_sites_are_pooled_as_if_their_images_lay_in_one_place(
    federation: SimulatedFederation, tmp_path: Path
) -> None:
    values = {"aarhus": looks(70, 1), "bergen": looks(50, 2)}
    for name, values_NQ in values.items():
        federation.sites[name].appearance = describe(values_NQ, told=len(values_NQ))

    appearance = published(federation, tmp_path / "model").appearance

    together = np.concatenate(list(values.values()))
    assert appearance is not None
    assert appearance.num_examples == 120
    np.testing.assert_allclose(appearance.mean, together.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(appearance.covariance_matrix(), np.cov(together, rowvar=False), atol=1e-9)


def test_limits_of_agreement_are_those_of_all_sites_test_images(
    federation: SimulatedFederation, tmp_path: Path
) -> None:
    limits = published(federation, tmp_path / "model").density_limits

    # Each site: 8 images, bias 2, variance of the differences 100 + 100 - 2 x 80 = 40; in all 24 images.
    half = 1.959964 * np.sqrt(40 * 24 / 23)
    assert limits is not None
    assert (limits.lower, limits.upper) == pytest.approx((2 - half, 2 + half))
    assert limits.num_images == 24


def test_a_site_that_claims_more_images_than_it_trained_on_weighs_no_more_than_those(
    federation: SimulatedFederation, tmp_path: Path
) -> None:
    honest = describe(looks(70, 1), told=70)
    federation.sites["aarhus"].appearance = honest
    federation.sites["bergen"].appearance = describe(looks(50, 2), told=10_000_000)

    appearance = published(federation, tmp_path / "model").appearance

    assert appearance is not None
    assert appearance.num_examples == 70 + 50
    expected = (70 * np.array(honest.mean) + 50 * looks(50, 2).mean(axis=0)) / 120
    np.testing.assert_allclose(appearance.mean, expected, atol=1e-9)


@pytest.mark.parametrize(
    "told",
    [
        {"aarhus": describe(looks(200, 1), told=70)},
        {"aarhus": describe(looks(40, 1), told=40), "bergen": describe(looks(40, 2), told=40)},
    ],
    ids=["of one site", "of fewer images than a covariance needs"],
)
def test_there_is_no_reference_of_looks(
    federation: SimulatedFederation, tmp_path: Path, told: dict[str, Appearance]
) -> None:
    for name, appearance in told.items():
        federation.sites[name].appearance = appearance

    assert published(federation, tmp_path / "model").appearance is None


def test_what_one_site_tells_is_not_handed_on_however_much_it_is(
    found_federation: Make, tmp_path: Path
) -> None:
    federation = found_federation(1, sites={"aarhus": 300, "bergen": 200})
    federation.sites["aarhus"].appearance = describe(looks(300, 1), told=300)

    assert published(federation, tmp_path / "model").appearance is None
