"""`mammofed-site data clinical`: what the hospital knows of its patients beside their images."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from client.cli_data import acting_on, opened
from client.cli_options import HOME, HomeOption, JsonOption
from shared.persons.roles import Action
from shared.terminal import Output

clinical_app = typer.Typer(
    help="Age, family history, biopsies and risk, for suggestions.", no_args_is_help=True
)


@clinical_app.command("add")
def add(
    table: Annotated[Path, typer.Argument(help="CSV file; the file itself stays as it is.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Take a table of clinical inputs in; a patient's line replaces what was known of her.

    Columns, all but the first optional, an empty cell is unknown: patient_id (as the images have it), age
    (years), family_history (yes or no: a first-degree relative with breast cancer), biopsies (number),
    polygenic_z (a polygenic score in standard deviations from the mean), lifetime_risk_percent (computed
    elsewhere). A line that is wrong is named, and then nothing is taken. Kept under the patient's pseudonym
    in this home, used for `[follow_up]` alone, sent nowhere, and removed by `data remove`.
    """
    from client.clinic.following import keep_inputs
    from client.followup.clinical import read_clinical

    told = read_clinical(table)
    with acting_on(home, Action.DATA_IMPORT, may_begin=True) as (_, catalog, actor):
        added = keep_inputs(catalog, told, actor=actor)
    left_out = f", {added.num_withdrawn} have withdrawn and are left out" if added.num_withdrawn else ""
    Output(as_json).result(
        {"patients": added.num_patients, "withdrawn": added.num_withdrawn},
        f"Clinical inputs of {added.num_patients} patients are here{left_out}.",
    )


@clinical_app.command("show")
def show(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Say of how many patients clinical inputs are here; of nobody what they are."""
    with opened(home) as (_, catalog):
        number = catalog.clinical.num_patients()
    Output(as_json).result({"patients": number}, f"Clinical inputs of {number} patients are here.")
