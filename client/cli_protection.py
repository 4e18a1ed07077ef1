"""`mammofed-site protection-pack`: what a data-protection officer asks for."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from client.cli_options import HOME, HomeOption, JsonOption
from client.home import SiteHome
from shared.terminal import Output


def protection_pack(
    page_file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the page (HTML).")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Write the data-protection pack of this site, from its configuration as it is.

    What is kept, what leaves and by which rule, the record of processing activities (GDPR Art. 30),
    retention, security measures, persons, logging (AI Act Art. 12), hints at legal bases and the remaining
    risks. What the software cannot know is asked for: see the table `[organisation]` of `site.toml`.
    """
    from client.protection import describe
    from shared.pages import write_page

    pack = describe(SiteHome(home), at=datetime.now().astimezone())
    write_page(pack.to_page(), page_file)
    missing = f" Still to be filled in: {', '.join(pack.open_points)}." if pack.open_points else ""
    Output(as_json).result(pack.to_json(), f"The pack is written; nothing of it was sent.{missing}")
