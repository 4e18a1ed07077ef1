"""`mammofed-coordinator network`: what the firewalls must let through, and the front that passes TLS on."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

from typing import Annotated

import typer

from server.cli_options import HOME, HomeOption, JsonOption
from server.home import CoordinatorHome
from shared.errors import ConfigError
from shared.terminal import Output


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
