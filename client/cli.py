"""`mammofed-site`: what hospital IT and clinicians do at the terminal."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from client.cli_data import data_app
from client.cli_masks import masks_app
from client.cli_options import HOME, HomeOption, JsonOption
from client.cli_pacs import pacs_app
from client.home import SiteHome
from shared.errors import NotReadyError
from shared.terminal import Output, run_command_line

app = typer.Typer(
    name="mammofed-site",
    help="Take part in a federation with this hospital's mammograms. No image ever leaves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app.add_typer(masks_app, name="masks")
app.add_typer(data_app, name="data")
app.add_typer(pacs_app, name="pacs")


@app.command()
def join(
    token: Annotated[str, typer.Argument(help="The invitation from the coordinator (mf1_...).")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Join a federation with a one-time token.

    Keys are made here and never leave; the coordinator's certificate is compared with the fingerprint in the
    token before anything is sent.
    """
    from client.joining import join as join_federation
    from shared.enrolment.token import InvitationToken

    membership = join_federation(SiteHome(home), InvitationToken.parse(token))
    Output(as_json).result(
        {
            "site_id": membership.site_id,
            "site_name": membership.site_name,
            "coordinator": membership.coordinator_name,
        },
        f"Joined '{membership.coordinator_name}' as '{membership.site_name}' ({membership.site_id}).\n"
        "Next: `mammofed-site data add FOLDER`, then `mammofed-site check`.",
    )


@app.command()
def check(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Check everything that taking part needs, with a remedy for each thing that fails.

    Membership, certificate, both ports of the coordinator, disk, GPU, data, and one real training step. Exit
    code 0 only if all passed.
    """
    from client.preflight import run_checks

    output = Output(as_json)
    checks = []
    for one in run_checks(SiteHome(home)):
        checks.append(one)
        if not as_json:
            mark = "[green]✓[/]" if one.passed else "[red]✗[/]"
            output.console.print(f"{mark} {one.name}: {escape(one.finding)}", soft_wrap=True)
            if not one.passed:
                output.console.print(f"    {one.remedy}", markup=False, soft_wrap=True)
    failed = [one.name for one in checks if not one.passed]
    if as_json:
        output.json(
            [{"name": c.name, "passed": c.passed, "finding": c.finding, "remedy": c.remedy} for c in checks]
        )
    if failed:
        raise NotReadyError(f"Not ready: {', '.join(failed)}.", "Follow the remedies above.")
    output.result({}, "Ready: `mammofed-site start`.") if not as_json else None


@app.command()
def start(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Take part until told to stop (Ctrl-C or SIGTERM).

    Connects out to the coordinator, and listens on nothing but loopback.
    """
    from client.service import serve

    output = Output(as_json)
    opened = SiteHome(home)
    name = opened.membership().site_name
    output.log_to(opened.logs / "site.log")
    serve(
        opened,
        on_ready=lambda: output.result({"state": "started", "site_name": name}, f"'{name}' is taking part."),
    )


@app.command("segment")
def segment_command(
    image: Annotated[Path, typer.Argument(help="A mammogram: DICOM, or a PNG of one.")],
    model_folder: Annotated[Path, typer.Option("--model", help="Folder of a downloaded model.")],
    overlay: Annotated[Path | None, typer.Option(help="Where to write the overlay picture (PNG).")] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Measure the density of one mammogram with a downloaded model.

    The model is verified against the coordinator of this site first. Research use; not for diagnosis.
    """
    from client.using import load_model, segment, write_overlay

    segmentation = segment(load_model(SiteHome(home), model_folder), image)
    if overlay is not None:
        write_overlay(segmentation, overlay)
    report = segmentation.report
    Output(as_json).result(report.to_json(), "\n".join([report.headline(), *report.details()]))


def main() -> None:
    """Entry of the console script."""
    run_command_line(app)
