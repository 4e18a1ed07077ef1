"""Figures that persons and machines are shown."""

from __future__ import annotations

from shared.evaluation.measures import MEASURES, Better, Figure, figures
from shared.evaluation.records import (
    NUM_BINS,
    Calibration,
    DensityCategories,
    Evaluation,
    ExpectedBand,
    Hausdorff,
    Moments,
    PairedMoments,
    PercentDensity,
    Proportion,
    ReliabilityBin,
    SegmentMoments,
    SurfaceDistances,
)

ONE = Moments(num_images=7, mean=0.5, variance=0.01, interval=(0.4, 0.6))
SEGMENTS = SegmentMoments(dense=ONE, breast=ONE, pectoral=ONE)
DISTANCES = SurfaceDistances(percentile_95=SEGMENTS, maximum=SEGMENTS)
DENSITY = PercentDensity(
    num_images=7,
    mean_measured=22.0,
    mean_expert=20.0,
    variance_measured=100.0,
    variance_expert=100.0,
    covariance=80.0,
    mean_absolute_difference=4.0,
    bias_interval=(1.0, 3.0),
)
HALF = Proportion(num_images=7, num_in_rarest=3, share=0.5)
PAIRS = PairedMoments(
    num_images=7,
    mean_measured=1.75,
    mean_expert=1.5,
    variance_measured=0.5,
    variance_expert=1.0,
    covariance=0.45,
    mean_absolute_difference=0.4,
)
BIN = ReliabilityBin(num_images=7, share=1.0, probability=0.05, frequency=0.05)
WHOLE = Evaluation(
    num_examples=7,
    loss=ONE,
    dice=SEGMENTS,
    hausdorff=Hausdorff(mm=DISTANCES, px=DISTANCES),
    percent_density=DENSITY,
    density_categories=DensityCategories(
        num_images=7,
        num_in_rarest=5,
        mean_measured=1.5,
        mean_expert=1.5,
        variance_measured=1.0,
        variance_expert=1.0,
        covariance=0.75,
        mean_absolute_difference=0.5,
        agreement=HALF,
        second_read=HALF,
        ranked_probability=ONE,
        expected=ExpectedBand(**dict(PAIRS), slope_interval=(0.7, 1.1)),
    ),
    calibration=Calibration(**dict(ONE), bins=(BIN, *[None] * (NUM_BINS - 1))),
)


def test_every_measure_is_found_in_an_evaluation_that_tells_all() -> None:
    assert list(figures(WHOLE)) == list(MEASURES)


def test_an_evaluation_that_tells_nothing_has_no_figure() -> None:
    assert figures(Evaluation(num_examples=7)) == {}


def test_a_figure_brings_its_interval_and_its_number_of_images() -> None:
    found = figures(WHOLE)

    assert found["dice_dense"] == Figure(value=0.5, num_images=7, interval=(0.4, 0.6))
    assert found["percent_density_r"] == Figure(value=0.8, num_images=7)
    assert found["percent_density_bias"] == Figure(value=2.0, num_images=7, interval=(1.0, 3.0))
    assert found["category_kappa"] == Figure(value=0.75, num_images=7)
    assert found["band_bias"] == Figure(value=0.25, num_images=7)
    assert found["band_slope"] == Figure(value=0.9, num_images=7, interval=(0.7, 1.1))
    assert found["calibration_error"] == Figure(value=0.0, num_images=7)


def test_the_worse_of_two_values_is_known_of_each_kind_of_measure() -> None:
    assert Better.HIGHER.badness(0.7) > Better.HIGHER.badness(0.8)
    assert Better.LOWER.badness(3.0) > Better.LOWER.badness(2.0)
    assert Better.NEARER_ZERO.badness(-3.0) > Better.NEARER_ZERO.badness(2.0)
    assert Better.NEARER_ONE.badness(0.6) > Better.NEARER_ONE.badness(1.3)
