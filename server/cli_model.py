"""`mammofed-coordinator model compare`."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

from typing import Annotated

import typer

from server.cli_options import HOME, HomeOption, JsonOption
from server.home import CoordinatorHome
from shared.terminal import Output

WORST = "*"


def model_compare(
    measure: Annotated[
        str, typer.Option(help="What to compare, such as percent_density_r; a wrong name lists all.")
    ] = "dice_dense",
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Compare the published models by how each did on each hospital's test part when its run ended.

    The hospital where a model did worst is marked. Test parts grow: figures of two models are over the same
    images only if nothing was added between their runs.
    """
    from server.comparison import compare
    from server.coordinator import Coordinator
    from shared.evaluation.measures import MEASURES, figure_text

    output = Output(as_json)
    compared = compare(Coordinator.open(CoordinatorHome(home)), measure)
    if output.as_json:
        output.json(compared.to_json())
        return
    rows = [
        {
            "model": model.model_id,
            **{
                site: figure_text(measure, model.sites.get(site)) + (WORST if site == model.worst else "")
                for site in compared.sites
            },
            "all sites": figure_text(measure, model.all_sites),
        }
        for model in compared.models
    ]
    title = f"Models by {MEASURES[measure].words}; {WORST} the worst hospital"
    output.table(title, rows, empty="No model yet: a finished run publishes one.")
