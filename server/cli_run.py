"""`mammofed-coordinator run stop` and `run resume`."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import time
from typing import Annotated

import typer

from server.acting import open_for
from server.cli_options import HOME, HomeOption, JsonOption
from server.home import CoordinatorHome
from shared.persons.roles import Action
from shared.terminal import Output

RunArgument = Annotated[str, typer.Argument(help="Run id, from `run list`.")]


def run_stop(run_id: RunArgument, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Stop a run; the hospitals end their training within seconds, and nothing more of it leaves them.

    Its finished rounds are kept: `run resume` goes on from the last of them. The round that is open is lost.
    """
    coordinator, actor = open_for(home, Action.RUN_STOP)
    coordinator.runs.stop(run_id, actor=actor, at=time.time())
    Output(as_json).result(
        {"run_id": run_id, "state": "stopped"},
        f"{run_id} is stopped. `mammofed-coordinator run resume {run_id}` goes on after its last round.",
    )


def run_resume(
    run_id: RunArgument,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the run.")] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was stopped or has failed, from its last finished round, and follow it.

    What the hospitals have approved holds on, for it is the same run under the same plan; each is asked as
    soon as it has seen that the run is open again. A run that was going when the coordinator ended goes on by
    itself after `start`, on another machine too if it has the home folder.
    """
    from server.flower.control import Control
    from server.progress import watch_run

    output = Output(as_json)
    coordinator, actor = open_for(home, Action.RUN_START)
    Control(CoordinatorHome(home)).require_running()
    coordinator.runs.resume(run_id, actor=actor, at=time.time())
    if detach:
        output.result({"run_id": run_id}, f"{run_id} goes on; `run watch {run_id}` follows it.")
    else:
        watch_run(coordinator, run_id, output)
