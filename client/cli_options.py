"""Options that every command of the site takes."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from client.home import default_home
from shared.errors import ConfigError

HomeOption = Annotated[
    Path, typer.Option("--home", help="The site's home folder.", envvar="MAMMOFED_HOME", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
HOME = default_home()


def day(text: str) -> date:
    """A day as a person writes it.

    Raises
    ------
    ConfigError
        It is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"'{text}' is no date.", "Write it as YYYY-MM-DD.") from error
