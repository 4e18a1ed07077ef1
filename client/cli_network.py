"""`mammofed-site network` and `it-sheet`: what firewalls must let through, and the sheet for IT."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from client.cli_options import HOME, HomeOption, JsonOption
from client.home import SiteHome
from shared.terminal import Output


def add_to(app: typer.Typer) -> None:
    """Make these commands part of a command line."""
    app.command("network")(network)
    app.command("it-sheet")(it_sheet)


def network(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Show what firewalls must let through, as this site is configured; `check` looks whether they do."""
    from client.network import firewall_matrix

    rows = [rule.to_json() for rule in firewall_matrix(SiteHome(home))]
    Output(as_json).table("Firewall", rows, empty="Nothing is to be let through.")


def it_sheet(
    page_file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the sheet (HTML).")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Write the sheet for IT: firewall matrix and checklist, one printed page each, as configured now."""
    from client.network import it_sheet as sheet_of
    from shared.pages import write_page

    sheet = sheet_of(SiteHome(home), at=datetime.now().astimezone())
    write_page(sheet.to_page(), page_file)
    Output(as_json).result(sheet.to_json(), "The sheet is written; nothing of it was sent.")
