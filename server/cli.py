"""`mammofed-coordinator`: what the coordinator does at the terminal."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from server.acting import open_for, open_side, place_of_store
from server.cli_alerts import alerts_app
from server.cli_backup import add_to as add_backup_commands
from server.cli_keys import keys_app
from server.cli_model import model_compare, model_release, model_revoke, model_show
from server.cli_network import it_sheet, network
from server.cli_options import HOME, HomeOption, JsonOption
from server.cli_person import person_password, person_second_factor, person_single_sign_on
from server.cli_plan import plan_app
from server.cli_protection import protection_pack
from server.cli_run import run_extend, run_list, run_resume, run_show, run_start, run_stop
from server.cli_site import site_app
from server.home import CoordinatorHome, CoordinatorSettings
from shared.audit.terminal import audit_commands
from shared.errors import ConfigError
from shared.persons.roles import Action
from shared.persons.terminal import person_commands, take_token_file
from shared.store_commands import store_commands
from shared.terminal import Output, run_command_line

app = typer.Typer(
    name="mammofed-coordinator",
    help="Coordinate a federation: invite hospitals, launch runs, watch them, download the global model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
run_app = typer.Typer(help="Trainings.", no_args_is_help=True)
model_app = typer.Typer(help="Published models.", no_args_is_help=True)
app.add_typer(site_app, name="site")
app.add_typer(keys_app, name="keys")
app.add_typer(plan_app, name="plan")
app.add_typer(run_app, name="run")
app.add_typer(model_app, name="model")
app.add_typer(alerts_app, name="alerts")
person_app = person_commands(open_side)
person_app.command("password")(person_password)
person_app.command("second-factor")(person_second_factor)
person_app.command("single-sign-on")(person_single_sign_on)
app.add_typer(person_app, name="user")
app.add_typer(audit_commands(open_side), name="audit")
app.add_typer(
    store_commands(open_side, place_of_store, Path(__file__).parent / "store" / "migrations"), name="store"
)
app.command("protection-pack")(protection_pack)
app.command("network")(network)
app.command("it-sheet")(it_sheet)
add_backup_commands(app)
app.callback()(take_token_file)


@app.command()
def init(
    name: Annotated[str, typer.Option(help="Name of the federation, shown to the hospitals.")],
    host: Annotated[str, typer.Option(help="Host name or address that the hospitals use.")] = "127.0.0.1",
    listen: Annotated[str, typer.Option(help="Address that the public listeners bind.")] = "127.0.0.1",
    first_port: Annotated[
        int,
        typer.Option(
            help="First of five ports in a row: fleet, enrolment, transfer; on loopback control and console."
        ),
    ] = 8443,
    database_file: Annotated[
        Path | None,
        typer.Option(
            help="File, readable by its owner only, with the postgresql:// address of an empty database."
            " Without it the state is in SQLite in the home. Nothing moves from one to the other.",
            show_default=False,
        ),
    ] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Make this folder a coordinator's home: settings, keys, root certificate, store.

    Nothing listens on other than loopback unless --listen says so. The fingerprint that is printed is part
    of every invitation.
    """
    from server.founding import found
    from shared.persons.acting import local_name

    output = Output(as_json)
    try:
        settings = CoordinatorSettings(
            name=name,
            host=host,
            listen=listen,
            fleet_port=first_port,
            enrolment_port=first_port + 1,
            transfer_port=first_port + 2,
            control_port=first_port + 3,
            console_port=first_port + 4,
            database_file=str(database_file.absolute()) if database_file else None,
        )
    except ValidationError as error:
        raise ConfigError(
            "A setting is out of range.", "Ports go from 1 to 65535, names to 80 printable characters."
        ) from error
    actor = local_name(os.getuid())
    print_of_root = found(CoordinatorHome(home), settings, now=time.time(), actor=actor)
    output.result(
        {"name": name, "root_fingerprint": print_of_root},
        f"The federation '{name}' is founded. Fingerprint of its root certificate:\n  {print_of_root}\n"
        "Next: `mammofed-coordinator serve`, then `mammofed-coordinator site invite NAME`.",
    )


@app.command()
def serve(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Run the coordinator until it is told to stop (Ctrl-C or SIGTERM).

    Serves three public ports (fleet, enrolment, transfer), one on loopback, and the web console where the
    settings give it a port; keeps Flower's SuperLink, the runner, the monitor and the console alive.
    """
    from shared.trust.tls_version import require_tls13

    require_tls13()
    from server import service

    output = Output(as_json)
    opened = CoordinatorHome(home)
    settings = opened.settings()
    output.log_to(opened.logs / "coordinator.log")
    service.serve(
        opened,
        on_ready=lambda: output.result(
            {"state": "ready", "fleet_port": settings.fleet_port},
            f"The coordinator '{settings.name}' is ready: fleet {settings.fleet_port}, enrolment "
            f"{settings.enrolment_port}, transfer {settings.transfer_port} on {settings.listen}."
            + (f"\nIts console: {settings.console_address}" if settings.console_port else ""),
        ),
    )


run_app.command("start")(run_start)
run_app.command("extend")(run_extend)
model_app.command("show")(model_show)
model_app.command("compare")(model_compare)
model_app.command("release")(model_release)
model_app.command("revoke")(model_revoke)
run_app.command("stop")(run_stop)
run_app.command("resume")(run_resume)
run_app.command("list")(run_list)
run_app.command("show")(run_show)


@run_app.command("watch")
def run_watch(
    run_id: Annotated[str, typer.Argument(help="Run id, from `run list`.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Follow a run until it is over: rounds, answers, loss, Dice, time left."""
    from server.coordinator import Coordinator
    from server.progress import watch_run

    watch_run(Coordinator.open(CoordinatorHome(home)), run_id, Output(as_json))


@model_app.command("list")
def model_list(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the published models."""
    from server.coordinator import Coordinator

    models = Coordinator.open(CoordinatorHome(home)).models.all()
    rows = [
        {
            "model_id": model.model_id,
            "state": model.state.value,
            "run_id": model.run_id,
            "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(model.created_at)),
            "manifest_sha256": model.manifest_sha256,
        }
        for model in models
    ]
    Output(as_json).table("Models", rows, empty="No model yet: a finished run publishes one.")


@model_app.command("download")
def model_download(
    model_id: Annotated[str, typer.Argument(help="Model id, from `model list`.")],
    output_folder: Annotated[Path, typer.Option("--output", help="New folder for the model's files.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Download a model into a new folder, and verify what was written."""
    from server.registry import download

    coordinator, actor = open_for(home, Action.MODEL_DOWNLOAD)
    package = download(coordinator, model_id, output_folder, actor=actor)
    Output(as_json).result(
        {"model_id": model_id, "manifest_sha256": package.manifest_sha256, "verified": True},
        f"{model_id} is downloaded and verified ({len(package.manifest.files)} files).",
    )


@model_app.command("verify")
def model_verify(
    folder: Annotated[Path, typer.Argument(help="Folder of a downloaded model.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Verify a downloaded model: its signature, every file, and the supplements beside it.

    One flipped byte fails, and so does a supplement of another model.
    """
    from server.coordinator import Coordinator
    from shared.package import verify_package

    anchors = Coordinator.open(CoordinatorHome(home)).anchors
    package = verify_package(folder, anchors.signing_key, anchors.retired_keys)
    Output(as_json).result(
        {
            "model_id": package.manifest.model_id,
            "manifest_sha256": package.manifest_sha256,
            "supplements": list(package.supplements),
            "verified": True,
        },
        f"{package.manifest.model_id}: signature, {len(package.manifest.files)} files and "
        f"{len(package.supplements)} supplements are intact.",
    )


def main() -> None:
    """Entry of the console script."""
    run_command_line(app)
