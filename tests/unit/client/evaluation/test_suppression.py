"""What may be told of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from client.evaluation.statistics import Statistics
from client.evaluation.suppression import tell
from client.policy.policy import EgressTable
from shared.evaluation.records import EVALUATED
from shared.tables import Table
from tests.unit.client.evaluation.examples import image


def counts_below(table: Table) -> Iterator[int]:
    for name, value in table:
        if name.startswith("num_"):
            yield value
        for below in value if isinstance(value, tuple) else (value,):
            if isinstance(below, Table):
                yield from counts_below(below)


def statistics(num_in_mm: int, num_in_px: int) -> Statistics:
    numbers = range(num_in_mm + num_in_px)
    images = [
        image(number, in_mm=number < num_in_mm, percent_density=(5.0, 15.0, 30.0, 60.0)[number % 4])
        for number in numbers
    ]
    return Statistics(images=images, categories=["abcd"[number % 4] for number in numbers])


@pytest.mark.parametrize("num_images", range(1, 5))
def test_nothing_is_told_over_fewer_images_than_the_policy_tells_of(num_images: int) -> None:
    evaluation = statistics(num_images, 0).evaluation(EVALUATED)

    assert tell(evaluation, EVALUATED, EgressTable(smallest_count=5)) is None


def test_a_statistic_over_too_few_of_enough_images_is_left_out() -> None:
    evaluation = statistics(20, 4).evaluation(EVALUATED)

    told = tell(evaluation, EVALUATED, EgressTable(smallest_count=5))

    assert told is not None
    assert told.hausdorff is not None
    assert told.hausdorff.mm == evaluation.hausdorff.mm
    assert told.hausdorff.px is None
    assert told.model_copy(update={"hausdorff": evaluation.hausdorff}) == evaluation


def test_categories_of_which_one_is_rare_are_left_out() -> None:
    statistics = Statistics(
        images=[image(number, percent_density=10.0 if number < 26 else 30.0) for number in range(36)],
        categories=["b"] * 31 + ["c"] * 5,
    )
    enough, rules = statistics.evaluation(["density_categories"]), EgressTable(smallest_count=5)
    rare = replace(statistics, categories=["b"] * 32 + ["c"] * 4).evaluation(["density_categories"])

    assert tell(enough, EVALUATED, rules) == enough
    assert tell(rare, EVALUATED, rules) is None


def test_how_many_bands_are_right_is_not_told_where_few_are_wrong_or_flagged() -> None:
    sure, unsure = (0.0, 0.9, 0.1, 0.0), (0.0, 0.4, 0.6, 0.0)
    images = [image(number, probabilities=sure if number < 16 else unsure) for number in range(32)]
    statistics = Statistics(images=images, categories=["b"] * 16 + ["c"] * 16)
    told = tell(statistics.evaluation(EVALUATED), EVALUATED, EgressTable(smallest_count=5))
    assert told.density_categories.agreement.share == 1
    assert told.density_categories.second_read.share == 0.5

    one_is_wrong = replace(statistics, categories=["b"] * 17 + ["c"] * 15)
    told = tell(one_is_wrong.evaluation(EVALUATED), EVALUATED, EgressTable(smallest_count=5))

    assert told.density_categories.agreement is None
    assert told.density_categories.second_read.share == 0.5
    assert told.density_categories.ranked_probability is not None


def test_a_bin_with_pixels_of_too_few_images_is_left_out() -> None:
    evaluation = statistics(20, 0).evaluation(["calibration"])
    first = evaluation.calibration.bins[0].model_copy(update={"num_images": 4})
    few = evaluation.calibration.model_copy(update={"bins": (first, *evaluation.calibration.bins[1:])})

    told = tell(evaluation.model_copy(update={"calibration": few}), EVALUATED, EgressTable(smallest_count=5))

    assert told is not None
    assert told.calibration is not None
    assert told.calibration.bins[0] is None
    assert told.calibration.bins[9] == evaluation.calibration.bins[9]


def test_every_number_of_images_is_rounded_down() -> None:
    evaluation = statistics(16, 19).evaluation(EVALUATED)
    rules = EgressTable(smallest_count=10, round_counts_to=10)

    told = tell(evaluation, EVALUATED, rules)

    assert told is not None
    assert set(counts_below(evaluation)) == {8, 16, 19, 35}
    assert set(counts_below(told)) == {10, 30}


@pytest.mark.parametrize("name", EVALUATED)
def test_a_metric_that_is_not_let_go_is_not_told(name: str) -> None:
    evaluation = statistics(20, 0).evaluation(EVALUATED)

    told = tell(evaluation, [each for each in EVALUATED if each != name], EgressTable())

    assert told is not None
    assert getattr(told, name) is None
    assert getattr(evaluation, name) is not None
    assert told.model_copy(update={name: getattr(evaluation, name)}) == evaluation


def test_an_evaluation_of_which_nothing_is_let_go_is_none() -> None:
    assert tell(statistics(20, 0).evaluation(EVALUATED), [], EgressTable()) is None
