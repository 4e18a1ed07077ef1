"""Options that every command of the coordinator has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.home import default_home

HomeOption = Annotated[
    Path,
    typer.Option("--home", help="The coordinator's home folder.", envvar="MAMMOFED_HOME", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
WatchOption = Annotated[bool, typer.Option("--watch", help="Show it anew whenever it changes, until Ctrl-C.")]
HOME = default_home()
