"""How uncertain a model is of one image, and between which values an expert's lies."""

from __future__ import annotations

import numpy as np
import pytest

from client.inference.segment import _entropy_bits
from shared.reference import DensityLimits


def test_a_network_that_tosses_a_coin_at_every_pixel_is_uncertain_by_one_bit() -> None:
    assert _entropy_bits(np.zeros(9, np.float32)) == pytest.approx(1.0)


def test_a_network_that_is_certain_either_way_is_not_uncertain() -> None:
    assert _entropy_bits(np.array([900.0, -900.0], np.float32)) == pytest.approx(0.0, abs=1e-9)


def test_uncertainty_is_the_mean_entropy_of_the_pixels() -> None:
    # Probabilities 1/2 and 1/4: 1 bit, and 1/4 log2 4 + 3/4 log2 4/3 = 0.8113 bits.
    logits = np.array([0.0, np.log(1 / 3)], np.float32)
    assert _entropy_bits(logits) == pytest.approx((1 + 0.811278) / 2, abs=1e-5)
    assert _entropy_bits(-logits) == pytest.approx((1 + 0.811278) / 2, abs=1e-5)


def test_without_a_breast_there_is_nothing_to_be_uncertain_of() -> None:
    assert _entropy_bits(np.zeros(0, np.float32)) == 0


def test_an_experts_value_lies_as_far_from_the_measured_one_as_in_the_tests() -> None:
    # The model measures between 3 points too little and 7 too much.
    limits = DensityLimits(lower=-3.0, upper=7.0, num_images=50)

    assert limits.around(20.0) == (13.0, 23.0)
    assert limits.around(2.0) == (0.0, 5.0)
    assert limits.around(99.0) == (92.0, 100.0)
