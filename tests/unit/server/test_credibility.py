"""What a site tells of an evaluation is believed only if it can be true of any images."""

from __future__ import annotations

from typing import Any

import pytest

from server.credibility import MAX_IMAGES, check_evaluation
from shared.errors import AdmissionError
from shared.evaluation.records import EVALUATED, NUM_BINS, Evaluation

MOMENTS = {"num_images": 8, "mean": 0.7, "variance": 0.02, "interval": (0.6, 0.8)}
SEGMENTS = {"dense": MOMENTS, "breast": MOMENTS, "pectoral": None}
DISTANCES = {"percentile_95": SEGMENTS, "maximum": SEGMENTS}
BIN = {"num_images": 8, "share": 0.5, "probability": 0.05, "frequency": 0.4}
DENSITY = {
    "num_images": 8,
    "mean_measured": 22.0,
    "mean_expert": 20.0,
    "variance_measured": 100.0,
    "variance_expert": 100.0,
    "covariance": 80.0,
    "mean_absolute_difference": 4.0,
    "correlation_interval": (0.5, 0.9),
    "error_interval": (3.0, 5.0),
    "bias_interval": (-1.0, 5.0),
}
HONEST: dict[str, Any] = {
    "num_examples": 8,
    "loss": MOMENTS,
    "dice": SEGMENTS,
    "hausdorff": {"mm": DISTANCES, "px": None},
    "percent_density": DENSITY,
    "density_categories": {
        "num_images": 8,
        "num_in_rarest": 5,
        "mean_measured": 1.5,
        "mean_expert": 1.5,
        "variance_measured": 1.0,
        "variance_expert": 1.0,
        "covariance": 0.75,
        "mean_absolute_difference": 0.5,
        "kappa_interval": (0.5, 0.9),
        "agreement": {"num_images": 8, "num_in_rarest": 2, "share": 0.75, "interval": (0.5, 0.9)},
        "second_read": {"num_images": 8, "num_in_rarest": 8, "share": 0.0, "interval": None},
        "ranked_probability": {"num_images": 8, "mean": 0.1, "variance": 0.01, "interval": (0.05, 0.2)},
        "expected": {
            "num_images": 8,
            "mean_measured": 1.6,
            "mean_expert": 1.5,
            "variance_measured": 0.8,
            "variance_expert": 1.0,
            "covariance": 0.75,
            "mean_absolute_difference": 0.4,
            "bias_interval": (-0.1, 0.3),
            "slope_interval": (0.8, 1.2),
        },
    },
    "calibration": {**MOMENTS, "bins": (BIN, *[None] * (NUM_BINS - 1))},
}


def changed(path: str, value: object) -> Evaluation:
    """The honest evaluation with another value at one place."""
    first, _, below = path.partition(".")

    def change(table: Any, name: str, rest: str) -> Any:
        key, _, deeper = rest.partition(".")
        inner = value if not rest else change(table[_key(name)], key, deeper)
        if isinstance(table, tuple):
            return tuple(inner if place == int(name) else each for place, each in enumerate(table))
        return {**table, name: inner}

    def _key(name: str) -> Any:
        return int(name) if name.isdecimal() else name

    return Evaluation.model_validate(change(HONEST, first, below))


def test_an_honest_evaluation_is_believed() -> None:
    check_evaluation(Evaluation.model_validate(HONEST), EVALUATED)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("loss.mean", 0.0),
        ("dice.dense", {**MOMENTS, "mean": 1.0, "variance": 0.0, "interval": None}),
        ("dice.dense", {**MOMENTS, "mean": 0.5, "variance": 0.25, "interval": None}),  # half 0, half 1
        ("percent_density.mean_absolute_difference", 2.0),  # all errors of one sign
        ("percent_density", {**DENSITY, "covariance": 100.0, "mean_absolute_difference": 2.0}),
        ("hausdorff.mm.maximum.dense", {**MOMENTS, "mean": 300.0, "variance": 9e4, "interval": None}),
    ],
)
def test_what_is_just_possible_is_believed(path: str, value: object) -> None:
    check_evaluation(changed(path, value), EVALUATED)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("num_examples", 7, "more images than"),
        ("num_examples", MAX_IMAGES + 1, "more images than"),
        ("loss.num_images", 9, "more images than"),
        ("dice.dense.num_images", 9, "more images than"),
        ("hausdorff.mm.percentile_95.breast.num_images", 9, "more images than"),
        ("percent_density.num_images", 9, "more images than"),
        ("calibration.bins.0.num_images", 9, "more images than"),
        ("loss.mean", 1e7, "mean that no image"),
        ("loss.variance", 1e300, "variance that its mean"),
        ("dice.dense.mean", 1.01, "mean that no image"),
        ("dice.breast.mean", -0.01, "mean that no image"),
        ("dice.dense.variance", 0.22, "variance that its mean"),
        ("dice.dense.interval", (0.8, 0.6), "interval"),
        ("dice.dense.interval", (0.6, 1.01), "interval"),
        ("hausdorff.mm.maximum.dense.mean", -1.0, "mean that no image"),
        ("hausdorff.mm.maximum.dense.mean", 1e6, "mean that no image"),
        ("calibration.mean", 1.5, "mean that no image"),
        ("percent_density.mean_expert", 101.0, "mean that no image"),
        ("percent_density.mean_measured", -1.0, "mean that no image"),
        ("percent_density.variance_expert", 1700.0, "variance that its mean"),
        ("percent_density.covariance", 100.1, "covariance"),
        ("percent_density.covariance", -100.1, "covariance"),
        ("percent_density.mean_absolute_difference", 1.9, "mean absolute difference"),
        # Differences of mean 2 and variance 40: root mean square 6.63.
        ("percent_density.mean_absolute_difference", 6.7, "mean absolute difference"),
        ("percent_density.correlation_interval", (0.5, 1.1), "interval"),
        ("percent_density.error_interval", (-1.0, 5.0), "interval"),
        ("percent_density.bias_interval", (5.0, -1.0), "interval"),
        ("density_categories.num_in_rarest", 9, "more images than"),
        ("density_categories.mean_expert", 3.5, "mean that no image"),
        ("density_categories.variance_expert", 2.3, "variance that its mean"),
        ("density_categories.kappa_interval", (0.9, 1.2), "interval"),
        ("density_categories.agreement.num_images", 9, "more images than"),
        ("density_categories.second_read.num_in_rarest", 9, "more images than"),
        ("density_categories.agreement.interval", (0.5, 1.1), "interval"),
        ("density_categories.ranked_probability.mean", 1.1, "mean that no image"),
        ("density_categories.expected.mean_measured", 3.1, "mean that no image"),
        ("density_categories.expected.covariance", 0.9, "covariance"),
        ("density_categories.expected.bias_interval", (-3.5, 0.0), "interval"),
        ("density_categories.expected.slope_interval", (1.2, 0.8), "interval"),
        ("calibration.bins.0.probability", 0.2, "probabilities of another"),
        ("calibration.bins.1", {**BIN, "share": 0.51, "probability": 0.15}, "more pixels"),
    ],
)
def test_what_cannot_be_true_of_any_images_is_refused(path: str, value: object, reason: str) -> None:
    with pytest.raises(AdmissionError, match=reason):
        check_evaluation(changed(path, value), EVALUATED)


@pytest.mark.parametrize("name", EVALUATED)
def test_a_metric_that_was_not_asked_for_is_refused(name: str) -> None:
    with pytest.raises(AdmissionError, match="not asked for"):
        check_evaluation(Evaluation.model_validate(HONEST), [asked for asked in EVALUATED if asked != name])
