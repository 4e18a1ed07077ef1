"""Over the images of a site."""

from __future__ import annotations

import numpy as np
import pytest

from client.evaluation.bootstrap import Resampling
from client.evaluation.statistics import Statistics
from server.credibility import check_evaluation
from shared.bands import BANDS
from shared.evaluation.agreement import correlation, differences, quadratic_kappa
from shared.evaluation.measures import figures
from shared.evaluation.pooling import pool
from shared.evaluation.records import EVALUATED, Evaluation
from tests.unit.client.evaluation.examples import image

IMAGES = [image(number) for number in range(30)]


def test_means_and_spreads_are_those_of_the_images() -> None:
    evaluation = Statistics(images=IMAGES).evaluation(EVALUATED)

    dice = np.array([each.dice_dense for each in IMAGES])
    assert evaluation.num_examples == 30
    assert evaluation.dice is not None
    assert evaluation.dice.dense is not None
    assert evaluation.dice.dense.num_images == 30
    assert evaluation.dice.dense.mean == pytest.approx(dice.mean())
    assert evaluation.dice.dense.variance == pytest.approx(dice.var())
    assert evaluation.dice.dense.interval is None


def test_agreement_is_that_of_the_pairs() -> None:
    evaluation = Statistics(images=IMAGES).evaluation(["percent_density"])

    measured = np.array([each.percent_density for each in IMAGES])
    expert = np.array([each.expert_percent_density for each in IMAGES])
    density = evaluation.percent_density
    assert density is not None
    assert correlation(density) == pytest.approx(np.corrcoef(measured, expert)[0, 1], abs=1e-12)
    assert differences(density).mean == pytest.approx((measured - expert).mean())
    assert density.mean_absolute_difference == pytest.approx(np.abs(measured - expert).mean())


def test_only_what_was_asked_for_is_summed_up() -> None:
    evaluation = Statistics(images=IMAGES).evaluation(["loss"])

    assert [name for name in EVALUATED if getattr(evaluation, name) is not None] == ["loss"]


def test_distances_in_mm_and_in_pixels_are_kept_apart() -> None:
    images = [image(number, in_mm=number < 10) for number in range(30)]

    hausdorff = Statistics(images=images).evaluation(["hausdorff"]).hausdorff

    assert hausdorff is not None
    assert hausdorff.mm is not None
    assert hausdorff.px is not None
    assert hausdorff.mm.maximum is not None
    assert hausdorff.px.percentile_95 is not None
    in_mm, in_px = hausdorff.mm.maximum.dense, hausdorff.px.percentile_95.breast
    assert in_mm is not None
    assert in_px is not None
    assert (in_mm.num_images, in_px.num_images) == (10, 20)
    assert in_mm.mean == pytest.approx(np.mean([each.outlines.dense.maximum for each in images[:10]]))


def test_density_bands_are_held_against_the_categories_that_readers_gave() -> None:
    # Bands b, b, c, d, a; a reader gave b, c, c, d and to the last image none.
    densities = [10.0, 21.0, 30.0, 50.0, 2.0]
    images = [image(number, percent_density=value) for number, value in enumerate(densities)]

    statistics = Statistics(images=images, categories=["b", "c", "c", "d", None])
    categories = statistics.evaluation(["density_categories"]).density_categories

    assert categories is not None
    # Measured 1, 1, 2, 3 and read 1, 2, 2, 3.
    assert (categories.num_images, categories.num_in_rarest) == (4, 1)
    assert (categories.mean_measured, categories.mean_expert) == (1.75, 2.0)
    assert (categories.variance_measured, categories.variance_expert) == (0.6875, 0.5)
    assert (categories.covariance, categories.mean_absolute_difference) == (0.5, 0.25)
    # 2 * 0.5 / (0.6875 + 0.5 + 0.0625)
    assert quadratic_kappa(categories) == pytest.approx(0.8)


def test_a_head_for_bands_is_held_against_categories_by_hand() -> None:
    said = [(0.8, 0.2, 0.0, 0.0), (0.0, 0.5, 0.4, 0.1), (0.0, 0.0, 0.1, 0.9), (1.0, 0.0, 0.0, 0.0)]
    # Percent density, by which all would be in band d, does not count.
    images = [image(number, probabilities=one, percent_density=99.0) for number, one in enumerate(said)]

    statistics = Statistics(images=images, categories=["a", "c", "d", None])
    found = statistics.evaluation(["density_categories"])
    told = figures(found)

    # Bands a, b, d: two of three agree, and one is borderline.
    assert found.density_categories.mean_measured == pytest.approx(4 / 3)
    assert (told["band_agreement"].value, told["band_agreement"].num_images) == (pytest.approx(2 / 3), 3)
    assert found.density_categories.agreement.num_in_rarest == 1
    assert told["band_second_read"].value == pytest.approx(1 / 3)
    # Above a, b and c: errors of 0.2, 0, 0; 0, 0.5, 0.1; 0, 0, 0.1.
    scores = [0.04 / 3, 0.26 / 3, 0.01 / 3]
    assert told["band_ranked_probability"].value == pytest.approx(sum(scores) / 3)
    # Expected 0.2, 1.6, 2.9 and read 0, 2, 3.
    assert told["band_bias"].value == pytest.approx((4.7 - 5) / 3)
    assert told["band_slope"].value == pytest.approx(np.polyfit([0.2, 1.6, 2.9], [0, 2, 3], 1)[0])


def test_what_two_sites_tell_of_their_bands_is_together_what_one_would_tell() -> None:
    random = np.random.default_rng(3)
    images = [image(number, probabilities=random.dirichlet([1, 1, 1, 1])) for number in range(30)]
    categories = [BANDS[number % 4] for number in range(30)]

    def of(some: slice) -> Evaluation:
        return Statistics(images=images[some], categories=categories[some]).evaluation(["density_categories"])

    pooled, whole = pool([of(slice(11)), of(slice(11, None))]), of(slice(None))

    assert {name: figure.value for name, figure in figures(pooled).items()} == pytest.approx(
        {name: figure.value for name, figure in figures(whole).items()}
    )
    assert [name for name, figure in figures(pooled).items() if figure.interval] == [
        "band_agreement",
        "band_second_read",
        "band_ranked_probability",
        "band_bias",
    ]


def test_without_any_category_there_is_nothing_to_tell_of_them() -> None:
    found = Statistics(images=IMAGES, categories=[None] * 30).evaluation(["density_categories"])

    assert found.density_categories is None


def test_bins_hold_the_share_of_pixels_and_the_images_that_have_any() -> None:
    calibration = Statistics(images=IMAGES).evaluation(["calibration"]).calibration

    assert calibration is not None
    first, last = calibration.bins[0], calibration.bins[9]
    assert first is not None
    assert last is not None
    assert (first.num_images, first.share, first.frequency) == (30, pytest.approx(0.75), pytest.approx(0.5))
    assert last.probability == pytest.approx(0.95)
    assert calibration.bins[1:9] == (None,) * 8


def test_every_mean_gets_an_interval_that_holds_it() -> None:
    resampling = Resampling([f"patient-{number // 2}" for number in range(30)], seed=1)
    random = np.random.default_rng(1)
    images = [image(number, probabilities=random.dirichlet([1, 1, 1, 1])) for number in range(30)]

    statistics = Statistics(images=images, categories=["a", "b", "c"] * 10, resampling=resampling)
    told = figures(statistics.evaluation(EVALUATED))

    without = {"percent_density_lower_limit", "percent_density_upper_limit", "calibration_error"}
    assert {name for name, figure in told.items() if figure.interval is None} == without
    for name in told.keys() - without:
        low, high = told[name].interval
        assert low <= told[name].value <= high


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_images_are_the_coordinator_believes_their_statistics(seed: int) -> None:
    random = np.random.default_rng(seed)
    images = []
    for number in range(int(random.integers(1, 40))):
        extreme = {name: float(random.choice([0, 0.3, 1])) for name in ("dice_dense", "dice_breast")}
        density = {
            name: float(random.choice([0, 40, 100])) for name in ("percent_density", "expert_percent_density")
        }
        likely = [random.dirichlet([1, 1, 1, 1]), np.eye(4)[random.integers(4)]][random.integers(2)]
        is_in_mm = bool(random.integers(2))
        images.append(image(number, in_mm=is_in_mm, probabilities=likely, **extreme, **density))
    patients = [f"patient-{random.integers(9)}" for _ in images]

    categories = [str(random.choice(list("abcd"))) for _ in images]

    resampling = Resampling(patients, seed)
    statistics = Statistics(images=images, categories=categories, resampling=resampling)
    evaluation = statistics.evaluation(EVALUATED)

    check_evaluation(evaluation, EVALUATED)
