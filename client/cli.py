"""`mammofed-site`: what hospital IT and clinicians do at the terminal."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from client.acting import open_existing_side, open_for, open_side, place_of_store
from client.cli_clinic import serve_dicom
from client.cli_clinical import clinical_app
from client.cli_data import data_app
from client.cli_keys import keys_app
from client.cli_ledger import ledger
from client.cli_masks import masks_app
from client.cli_models import model_app
from client.cli_network import add_to as add_network_commands
from client.cli_options import HOME, HomeOption, JsonOption
from client.cli_pacs import pacs_app
from client.cli_plans import add_to as add_plan_commands
from client.cli_policy import policy_app
from client.cli_privacy import privacy
from client.cli_protection import protection_pack
from client.cli_segment import segment_command
from client.cli_status import add_to as add_status_commands
from client.home import SiteHome
from shared.audit.terminal import audit_commands
from shared.errors import NotReadyError
from shared.persons.roles import Action
from shared.persons.terminal import person_commands, take_token_file
from shared.store_commands import store_commands
from shared.terminal import Output, run_command_line

app = typer.Typer(
    name="mammofed-site",
    help="Take part in a federation with this hospital's mammograms. No image ever leaves.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
data_app.add_typer(masks_app, name="masks")
data_app.add_typer(clinical_app, name="clinical")
app.add_typer(data_app, name="data")
app.add_typer(pacs_app, name="pacs")
app.add_typer(person_commands(open_side), name="user")
app.add_typer(audit_commands(open_existing_side), name="audit")
app.add_typer(policy_app, name="policy")
app.add_typer(keys_app, name="keys")
app.add_typer(model_app, name="model")
app.add_typer(
    store_commands(open_existing_side, place_of_store, Path(__file__).parent / "store" / "migrations"),
    name="store",
)
app.command("protection-pack")(protection_pack)
app.callback()(take_token_file)


@app.command()
def join(
    token: Annotated[str, typer.Argument(help="The invitation from the coordinator (mf1_...).")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Join a federation with a one-time token.

    Keys are made here and never leave; the coordinator's certificate is compared with the fingerprint in the
    token before anything is sent. If the coordinator approves by hand, this waits; broken off, it may be run
    again with the same token.
    """
    from client.joining import join as join_federation
    from shared.enrolment.token import InvitationToken

    output = Output(as_json)

    def show_waiting(fingerprint: str) -> None:
        output.result(
            {"state": "waiting", "fingerprint": fingerprint},
            f"Waiting for the coordinator's approval; tell them this fingerprint:\n  {fingerprint}",
        )

    invitation = InvitationToken.parse(token)
    _, actor = open_for(home, Action.FEDERATION_JOIN)
    membership = join_federation(SiteHome(home), invitation, actor=actor, on_waiting=show_waiting)
    output.result(
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

    Membership, certificate, both ports of the coordinator, this site's standing there, clock, disk, GPU,
    data, and one real training step. Exit code 0 only if all passed.
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
    output.result({}, "Ready: `mammofed-site serve`.") if not as_json else None


@app.command()
def serve(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Take part until told to stop (Ctrl-C or SIGTERM).

    Connects out to the coordinator, and listens on nothing but loopback.
    """
    from client import service

    output = Output(as_json)
    opened = SiteHome(home)
    name = opened.membership().site_name
    output.log_to(opened.logs / "site.log")
    service.serve(
        opened,
        on_ready=lambda: output.result({"state": "started", "site_name": name}, f"'{name}' is taking part."),
    )


app.command("segment")(segment_command)
app.command("serve-dicom")(serve_dicom)
app.command()(ledger)
app.command()(privacy)
add_plan_commands(app)
add_status_commands(app)
add_network_commands(app)


def main() -> None:
    """Entry of the console script."""
    run_command_line(app)
