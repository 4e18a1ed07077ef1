"""`mammofed-site status` and `page`: how the site is, at a glance."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import typer

from client.cli_options import HOME, HomeOption, JsonOption
from client.home import SiteHome
from shared.persons.roles import Action
from shared.terminal import Output


def add_to(app: typer.Typer) -> None:
    """Make these commands part of a command line."""
    app.command("status")(status)
    app.command("page")(page)


def status(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Show how this site is: state, last contact, current run and round, GPU, disk, what has left.

    It only looks, and asks nobody; `check` is what asks the coordinator.
    """
    from client.status import Glance

    found = Glance(SiteHome(home)).look()
    Output(as_json).result(found.to_json(), "\n".join(found.lines()))


def page(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Print a link to the running site's page, for a browser on this computer.

    The page shows what `status` shows, live, and has the button that stops taking part; where `[follow_up]`
    is set, also a form for what is known of one woman beside her images. The link is yours: what is done by
    it stands in the audit log under your name. It ends after 12 hours, or when the site is started anew. From
    another computer, reach the page through `ssh -L`.
    """
    from client.acting import open_for
    from client.page.links import LINK_LIFE_S, mint

    opened = SiteHome(home)
    _, actor = open_for(home, Action.SERVICE_SHOW)
    url = mint(opened, actor=actor)
    Output(as_json).result({"url": url, "life_s": LINK_LIFE_S}, url)
