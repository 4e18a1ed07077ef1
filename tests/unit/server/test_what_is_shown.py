"""A finished run at the terminal, in its model card and in its pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from rich.console import Console

from server.curves import draw_curves
from server.learning_curves import lines_of
from server.model_card import write_model_card
from server.progress import picture_of
from server.run_document import run_document
from server.summary import RunSummary, summarize
from shared.terminal import Output
from tests.unit.server.simulated_federation import EVALUATION, RUN_ID, SimulatedFederation

Make = Callable[..., SimulatedFederation]


@pytest.fixture
def finished(found_federation: Make) -> tuple[SimulatedFederation, RunSummary]:
    federation = found_federation(2)
    federation.run()
    return federation, summarize(federation.coordinator.runs.get(RUN_ID), federation.coordinator)


def test_a_finished_run_is_shown_by_measure_site_and_over_all(
    finished: tuple[SimulatedFederation, RunSummary],
) -> None:
    output = Output(False)
    shown = io.StringIO()
    output.console = Console(file=shown, width=120)

    output.console.print(picture_of(finished[1], trouble=""))

    for words in (
        "Overlap with the expert's segments (Dice)",
        "Percent density",
        "all sites",
        "density r",
        "0.800",
    ):
        assert words in shown.getvalue()


def test_the_model_card_tells_every_round_and_where_the_evaluation_stands(
    finished: tuple[SimulatedFederation, RunSummary],
) -> None:
    federation, summary = finished

    card = write_model_card(
        "m",
        summary,
        lines_of(federation.coordinator, RUN_ID),
        federation.plan,
        privacy=["Nobody can tell."],
        created_at="now",
        software="this",
    )

    assert "| 1 | 3 / 3 | 0.500 | 0.500 | 0.700 | 0.800 | 4.0 | 0.700 | 0.700 | 0.700 |" in card
    assert "supplement_*.json" in card
    assert "## Privacy\n\nNobody can tell.\n" in card


def test_machines_get_every_measure_with_its_images_and_interval(
    finished: tuple[SimulatedFederation, RunSummary],
) -> None:
    federation, summary = finished
    document = json.loads(json.dumps(run_document(summary, federation.coordinator)))

    assert EVALUATION.dice is not None
    assert document["test"][0]["evaluation"] == {
        "num_examples": 8,
        "measures": document["test"][0]["evaluation"]["measures"],
    }
    assert document["test"][0]["evaluation"]["measures"]["dice_dense"] == {
        "value": 0.7,
        "num_images": 8,
        "interval": None,
    }
    pooled = document["test_of_all"]["measures"]
    assert pooled["percent_density_r"]["value"] == pytest.approx(0.8)
    assert pooled["percent_density_r"]["num_images"] == 24
    low, high = pooled["percent_density_r"]["interval"]
    assert low < 0.8 < high
    assert document["rounds"][1]["incoming"]["measures"]["dice_dense"]["value"] == pytest.approx(0.7)


def test_learning_curves_are_a_picture(finished: tuple[SimulatedFederation, RunSummary]) -> None:
    federation, summary = finished
    lines = lines_of(federation.coordinator, RUN_ID)
    assert draw_curves(summary, lines).startswith(b"\x89PNG")
