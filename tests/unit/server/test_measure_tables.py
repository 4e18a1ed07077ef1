"""Evaluations as a coordinator is shown them."""

from __future__ import annotations

from server.lifecycle import AnswerState
from server.measure_tables import OWN_MODELS, MeasureTable, measure_tables
from server.stages import Steps
from server.summary import SitePart, Telling
from shared.evaluation.measures import Figure, figure_text
from shared.evaluation.records import Evaluation, Moments, PercentDensity, SegmentMoments

DENSITY_TITLE = "Percent density, with 95 % limits of agreement"
DENSITY = PercentDensity(
    num_images=10,
    mean_measured=22.0,
    mean_expert=20.0,
    variance_measured=90.0,
    variance_expert=90.0,
    covariance=81.0,
    mean_absolute_difference=4.0,
    bias_interval=(1.0, 3.0),
)


def dice(mean: float, num_images: int, *, pectoral: bool = True) -> SegmentMoments:
    told = Moments(num_images=num_images, mean=mean, variance=0.0)
    return SegmentMoments(
        dense=told.model_copy(update={"interval": (mean - 0.1, mean + 0.1)}),
        breast=told,
        pectoral=told if pectoral else None,
    )


def part(
    site: str,
    evaluation: Evaluation | None,
    state: AnswerState = AnswerState.ADMITTED,
    personal: Evaluation | None = None,
) -> SitePart:
    return SitePart(
        site=site,
        state=state,
        reason=None,
        num_examples=0,
        train_loss=None,
        evaluation=evaluation,
        personal=personal,
        duration_s=10.0,
        steps=Steps(asked_at=0.0, fetched_at=None, sending_at=None, answered_at=10.0),
        update_bytes=None,
    )


def table(parts: list[SitePart], title: str) -> MeasureTable:
    (found,) = [each for each in measure_tables(Telling(parts=parts)) if each.title == title]
    return found


def test_each_site_has_a_row_and_all_together_the_last_one() -> None:
    parts = [
        part("aarhus", Evaluation(num_examples=10, dice=dice(0.6, 10))),
        part("bergen", Evaluation(num_examples=30, dice=dice(0.8, 30))),
    ]

    found = table(parts, "Overlap with the expert's segments (Dice)")

    assert found.head == ("site", "images", "dense", "breast", "pectoral")
    assert found.rows == [
        ("aarhus", "10", "0.600 [0.500, 0.700]", "0.600", "0.600"),
        ("bergen", "30", "0.800 [0.700, 0.900]", "0.800", "0.800"),
        # (10 * 0.6 + 30 * 0.8) / 40; neither site's images differ.
        ("all sites", "40", *["0.750 [0.750, 0.750]"] * 3),
    ]


def test_what_is_over_too_few_images_is_shown_as_suppressed() -> None:
    parts = [
        part("aarhus", Evaluation(num_examples=10, dice=dice(0.6, 10, pectoral=False))),
        part("bergen", Evaluation(num_examples=30, dice=dice(0.8, 30))),
        part("cork", None),
        part("derry", None, AnswerState.LOST),
    ]

    found = table(parts, "Overlap with the expert's segments (Dice)")

    assert [(row[0], row[1], row[-1]) for row in found.rows[:-1]] == [
        ("aarhus", "10", "-"),
        ("bergen", "30", "0.800"),
        ("cork", "suppressed", "-"),
        ("derry", "lost", "-"),
    ]


def test_percent_density_has_r_error_bias_and_limits() -> None:
    found = table([part("aarhus", Evaluation(num_examples=10, percent_density=DENSITY))], DENSITY_TITLE)

    # r = 81 / 90. The differences have the variance 90 + 90 - 2 * 81 = 18, over nine 20: 2 +- 1.96 * 4.47.
    assert found.rows[0] == ("aarhus", "10", "0.900", "4.0", "2.0 [1.0, 3.0]", "-6.8", "10.8")


def test_a_group_that_nobody_tells_of_is_no_table() -> None:
    parts = [part("aarhus", Evaluation(num_examples=10, percent_density=DENSITY))]

    assert [each.title for each in measure_tables(Telling(parts=parts))] == [DENSITY_TITLE]
    assert measure_tables(Telling(parts=[])) == []
    assert measure_tables(Telling(parts=[part("cork", None)])) == []


def test_a_figure_has_as_many_decimals_as_are_worth_showing() -> None:
    figure = Figure(value=3.14159, num_images=9, interval=(2.71828, 4.0))

    assert figure_text("dice_dense", figure) == "3.142 [2.718, 4.000]"
    assert figure_text("percent_density_error", figure) == "3.1 [2.7, 4.0]"
    assert figure_text("percent_density_error", None) == "-"


def test_each_sites_own_model_stands_beside_the_common_one_and_all_sites_by_what_they_go_on_with() -> None:
    parts = [
        part(
            "aarhus",
            Evaluation(num_examples=10, dice=dice(0.6, 10)),
            personal=Evaluation(num_examples=10, dice=dice(0.8, 10)),
        ),
        part("bergen", Evaluation(num_examples=30, dice=dice(0.7, 30))),
        part("chur", None),
    ]

    found = table(parts, OWN_MODELS)

    assert found.head[:4] == ("site", "images", "dense Dice", "dense Dice, own")
    assert [row[:4] for row in found.rows[:2]] == [
        ("aarhus", "10", "0.600 [0.500, 0.700]", "0.800 [0.700, 0.900]"),
        ("bergen", "30", "0.700 [0.600, 0.800]", "common"),
    ]
    # (10 x 0.6 + 30 x 0.7) / 40 and (10 x 0.8 + 30 x 0.7) / 40
    common, own = (cell.split()[0] for cell in found.rows[-1][2:4])
    assert (found.rows[-1][:2], common, own) == (("all sites", "40"), "0.675", "0.725")


def test_without_a_model_of_a_sites_own_nothing_is_set_beside_the_common_one() -> None:
    parts = [part("aarhus", Evaluation(num_examples=10, dice=dice(0.6, 10)))]

    assert OWN_MODELS not in [each.title for each in measure_tables(Telling(parts=parts))]
