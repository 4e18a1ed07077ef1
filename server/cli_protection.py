"""`mammofed-coordinator protection-pack`: what a data-protection officer asks for."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from server.cli_options import HOME, HomeOption, JsonOption
from server.home import CoordinatorHome
from shared.terminal import Output


def protection_pack(
    page_file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the page (HTML).")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Write the data-protection pack of this coordinator, from its configuration as it is.

    What is received, the record of processing activities (GDPR Art. 30), sites, models, retention, security
    measures, persons, logging (AI Act Art. 12), hints at legal bases and the remaining risks. What the
    software cannot know is asked for: write it into the table `[organisation]` of `coordinator.toml`.
    """
    from server.protection import describe
    from shared.pages import write_page

    pack = describe(CoordinatorHome(home), at=datetime.now().astimezone())
    write_page(pack.to_page(), page_file)
    missing = f" Still to be filled in: {', '.join(pack.open_points)}." if pack.open_points else ""
    Output(as_json).result(pack.to_json(), f"The pack is written; nothing of it was sent.{missing}")
