"""`mammofed-coordinator network` and `it-sheet`: firewalls, the front, the sheet for IT."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from server.cli_options import HOME, HomeOption, JsonOption
from server.home import CoordinatorHome
from shared.errors import ConfigError
from shared.terminal import Output


def it_sheet(
    page_file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the sheet (HTML).")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Write the sheet for IT: firewall matrix and checklist, one printed page each, as configured now."""
    from server.network import it_sheet as sheet_of
    from shared.pages import write_page

    sheet = sheet_of(CoordinatorHome(home), at=datetime.now().astimezone())
    write_page(sheet.to_page(), page_file)
    Output(as_json).result(sheet.to_json(), "The sheet is written; nothing of it was sent.")


def network(
    nginx: Annotated[
        bool, typer.Option("--nginx", help="Print nginx's configuration for one port instead; needs [front].")
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Show what firewalls must let through, as this coordinator is configured.

    With --nginx, print the `stream` block by which nginx passes TLS on by the server's name, ending none.
    """
    from server.front import nginx_config
    from server.network import firewall_matrix

    settings = CoordinatorHome(home).settings()
    output = Output(as_json)
    if not nginx:
        rows = [rule.to_json() for rule in firewall_matrix(settings)]
        output.table("Firewall", rows, empty="Nothing is to be let through.")
        return
    if settings.front is None:
        raise ConfigError(
            "The coordinator has no names for one port.", "Add the table [front] to coordinator.toml."
        )
    ports = (settings.fleet_port, settings.enrolment_port, settings.transfer_port)
    listen = "127.0.0.1" if settings.listen in {"0.0.0.0", "::"} else settings.listen  # noqa: S104 - compared
    text = nginx_config(settings.front, listen=listen, ports=ports)
    output.result({"nginx": text}, text.rstrip("\n"))
