"""Sites' means and covariances, pooled as if all images had been in one place."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from shared.appearance import LEAST_AT_A_SITE, LEAST_IN_ALL, QUANTITIES, Appearance, describe, pool

P = len(QUANTITIES)


def quantities(number: int, *, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return mean + random.standard_normal((number, P)) @ random.standard_normal((P, P)) / 5


def test_what_is_pooled_is_what_all_images_in_one_place_would_have_given() -> None:
    sites = [quantities(80, seed=1), quantities(25, mean=2.0, seed=2), quantities(40, mean=-1.0, seed=3)]

    pooled = pool([describe(values, told=len(values)) for values in sites])

    everything = np.concatenate(sites)
    assert pooled is not None
    assert pooled.num_examples == 145
    np.testing.assert_allclose(pooled.mean, everything.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(pooled.covariance_matrix(), np.cov(everything, rowvar=False), atol=1e-9)


def test_a_site_weighs_as_many_images_as_it_tells() -> None:
    values = quantities(100), quantities(100, mean=1.0)

    pooled = pool([describe(values[0], told=300), describe(values[1], told=100)])

    assert pooled is not None
    expected = 0.75 * values[0].mean(axis=0) + 0.25 * values[1].mean(axis=0)
    np.testing.assert_allclose(pooled.mean, expected, atol=1e-9)


def test_too_few_images_make_no_reference() -> None:
    few = describe(quantities(50), told=LEAST_IN_ALL // 2)

    assert pool([few]) is None
    assert pool([few, few]) is None
    assert pool([few, few, few]) is not None
    assert pool([]) is None


def test_it_survives_its_json() -> None:
    appearance = describe(quantities(60), told=60)

    assert Appearance.model_validate_json(appearance.model_dump_json()) == appearance


def tampered(**changes: object) -> str:
    return json.dumps({**json.loads(describe(quantities(60), told=60).model_dump_json()), **changes})


@pytest.mark.parametrize(
    "text",
    [
        tampered(num_examples=LEAST_AT_A_SITE - 1),
        tampered(num_examples=60.5),
        tampered(mean=[0.0] * (P - 1)),
        tampered(mean=[float("nan")] + [0.0] * (P - 1)),
        tampered(mean=[1e9] + [0.0] * (P - 1)),
        tampered(covariance=[0.0] * P),
        tampered(covariance=[-1.0] + [0.0] * (P * (P + 1) // 2 - 1)),
        tampered(names=["patient"]),
    ],
)
def test_what_is_no_distribution_of_these_quantities_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Appearance.model_validate_json(text)
