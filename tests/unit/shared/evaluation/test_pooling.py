"""Statistics of several sites are those of all their images."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from shared.evaluation.agreement import correlation, differences, limits_of_agreement
from shared.evaluation.pooling import pool, pool_moments, pool_pairs
from shared.evaluation.records import (
    NUM_BINS,
    Calibration,
    Evaluation,
    Hausdorff,
    Moments,
    PairedMoments,
    PercentDensity,
    ReliabilityBin,
    SegmentMoments,
    SurfaceDistances,
)

Values = npt.NDArray[np.float64]
EXACT = 1e-9


def moments(values: Values) -> Moments:
    return Moments(num_images=len(values), mean=float(values.mean()), variance=float(values.var()))


def pairs(measured: Values, expert: Values) -> PairedMoments:
    return PairedMoments(
        num_images=len(measured),
        mean_measured=float(measured.mean()),
        mean_expert=float(expert.mean()),
        variance_measured=float(measured.var()),
        variance_expert=float(expert.var()),
        covariance=float(np.cov(measured, expert, bias=True)[0, 1]),
        mean_absolute_difference=float(np.abs(measured - expert).mean()),
    )


def sites(seed: int) -> list[tuple[Values, Values]]:
    """Percent density at three sites, of quite different levels and numbers of images."""
    random = np.random.default_rng(seed)
    found = []
    for count, level in ((5, 8.0), (37, 25.0), (400, 60.0)):
        expert = random.normal(level, 7, count).clip(0, 100)
        found.append(((expert + random.normal(2, 4, count)).clip(0, 100), expert))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_pooled_agreement_is_that_of_the_pooled_images(seed: int) -> None:
    of_sites = sites(seed)
    measured, expert = (np.concatenate(values) for values in zip(*of_sites, strict=True))

    pooled = pool_pairs([pairs(*each) for each in of_sites])

    signed = measured - expert
    assert pooled.num_images == 442
    assert correlation(pooled) == pytest.approx(np.corrcoef(measured, expert)[0, 1], abs=EXACT)
    assert pooled.mean_absolute_difference == pytest.approx(np.abs(signed).mean(), abs=EXACT)
    assert differences(pooled).mean == pytest.approx(signed.mean(), abs=EXACT)
    half = 1.959963984540054 * signed.std(ddof=1)
    assert limits_of_agreement(pooled) == pytest.approx(
        (signed.mean() - half, signed.mean() + half), abs=EXACT
    )


def test_pooled_means_and_spreads_are_those_of_the_pooled_images() -> None:
    of_sites = [measured for measured, _ in sites(11)]

    pooled = pool_moments([*map(moments, of_sites), None])

    assert pooled is not None
    assert pooled.mean == pytest.approx(np.concatenate(of_sites).mean(), abs=EXACT)
    assert pooled.variance == pytest.approx(np.concatenate(of_sites).var(), abs=EXACT)


def test_values_far_from_zero_lose_no_digits() -> None:
    of_sites = [1e6 + values for values, _ in sites(3)]

    pooled = pool_moments(map(moments, of_sites))

    assert pooled is not None
    assert pooled.variance == pytest.approx(np.concatenate(of_sites).var(), rel=EXACT)


def test_the_interval_of_a_mean_has_the_sites_as_strata() -> None:
    # Two sites of four and six images, each with the mean squared deviation 1.
    parts = [Moments(num_images=4, mean=0.0, variance=1.0), Moments(num_images=6, mean=10.0, variance=1.0)]

    pooled = pool_moments(parts)

    # (4 / 10)^2 * 1 / 3 + (6 / 10)^2 * 1 / 5; that the sites differ makes the mean no less certain.
    half = 1.959964 * math.sqrt(0.16 / 3 + 0.36 / 5)
    assert pooled is not None
    assert pooled.mean == 6
    assert pooled.interval == pytest.approx((6 - half, 6 + half))


def test_a_site_of_one_image_leaves_the_mean_without_interval() -> None:
    pooled = pool_moments([Moments(num_images=1, mean=1.0, variance=0.0)])

    assert pooled == Moments(num_images=1, mean=1.0, variance=0.0)


def evaluation(**parts: object) -> Evaluation:
    return Evaluation.model_validate({"num_examples": 10, **parts})


def test_pearsons_r_gets_fishers_interval() -> None:
    # r = 0.5 over 4 + 99 = 103 images: z = 0.549306 +- 1.959964 / 10.
    half = PercentDensity(
        num_images=103,
        mean_measured=20.0,
        mean_expert=20.0,
        variance_measured=100.0,
        variance_expert=100.0,
        covariance=50.0,
        mean_absolute_difference=5.0,
    )

    pooled = pool([Evaluation(num_examples=103, percent_density=half)])

    assert pooled is not None
    assert pooled.percent_density is not None
    interval = (math.tanh(0.5493061 - 0.1959964), math.tanh(0.5493061 + 0.1959964))
    assert pooled.percent_density.correlation_interval == pytest.approx(interval, abs=1e-6)


def test_what_one_site_does_not_tell_is_pooled_over_the_others() -> None:
    dice = SegmentMoments(
        dense=Moments(num_images=6, mean=0.5, variance=0.0),
        breast=Moments(num_images=10, mean=0.9, variance=0.0),
        pectoral=None,
    )

    pooled = pool([evaluation(dice=dice), evaluation(dice=dice.model_copy(update={"dense": None}))])

    assert pooled is not None
    assert pooled.num_examples == 20
    assert pooled.dice is not None
    assert pooled.dice.dense is not None
    assert pooled.dice.dense.num_images == 6
    assert pooled.dice.breast is not None
    assert pooled.dice.breast.num_images == 20
    assert pooled.dice.pectoral is None
    assert pooled.loss is None


def test_distances_in_mm_and_in_pixels_are_never_mixed() -> None:
    def distances(mean: float) -> SurfaceDistances:
        dense = Moments(num_images=10, mean=mean, variance=0.0)
        segments = SegmentMoments(dense=dense, breast=None, pectoral=None)
        return SurfaceDistances(percentile_95=segments, maximum=segments)

    pooled = pool(
        [
            evaluation(hausdorff=Hausdorff(mm=distances(2.0), px=None)),
            evaluation(hausdorff=Hausdorff(mm=None, px=distances(30.0))),
        ]
    )

    assert pooled is not None
    assert pooled.hausdorff is not None
    assert pooled.hausdorff.mm is not None
    assert pooled.hausdorff.mm.maximum is not None
    assert pooled.hausdorff.mm.maximum.dense is not None
    assert pooled.hausdorff.mm.maximum.dense.mean == 2
    assert pooled.hausdorff.px is not None


def test_bins_are_pooled_by_the_pixels_in_them() -> None:
    def calibration(count: int, found: ReliabilityBin | None) -> Calibration:
        bins = (found, *[None] * (NUM_BINS - 1))
        return Calibration(num_images=count, mean=0.1, variance=0.0, bins=bins)

    one = ReliabilityBin(num_images=10, share=0.5, probability=0.04, frequency=0.1)
    other = ReliabilityBin(num_images=20, share=0.1, probability=0.08, frequency=0.2)

    pooled = pool(
        [
            evaluation(calibration=calibration(10, one)),
            Evaluation(num_examples=30, calibration=calibration(30, other)),
            evaluation(calibration=calibration(10, None)),
        ]
    )

    assert pooled is not None
    assert pooled.calibration is not None
    found = pooled.calibration.bins[0]
    # 10 * 0.5 + 30 * 0.1 = 8 of 50 breasts; 5 of these 8 with 0.04, 3 with 0.08.
    assert found is not None
    assert found.num_images == 30
    assert found.share == pytest.approx(8 / 50)
    assert found.probability == pytest.approx((5 * 0.04 + 3 * 0.08) / 8)
    assert found.frequency == pytest.approx((5 * 0.1 + 3 * 0.2) / 8)
    assert pooled.calibration.bins[1:] == (None,) * (NUM_BINS - 1)


def test_nothing_is_pooled_of_nobody() -> None:
    assert pool([]) is None
