"""`mammofed-coordinator run start`, `run extend`, `run stop` and `run resume`."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.acting import open_for
from server.cli_options import HOME, HomeOption, JsonOption, WatchOption
from server.cli_plan import read_plan
from server.home import CoordinatorHome
from server.lifecycle import RunState
from shared.errors import ConfigError
from shared.persons.roles import Action
from shared.terminal import Output

if TYPE_CHECKING:
    from rich.console import RenderableType

    from server.coordinator import Coordinator

RunArgument = Annotated[str, typer.Argument(help="Run id, from `run list`.")]


DetachOption = Annotated[bool, typer.Option("--detach", help="Do not wait for the run.")]


def run_start(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="The plan to train under.")],
    detach: DetachOption = False,
    parent: Annotated[str | None, typer.Option(help="The run whose plan this one changes; its id.")] = None,
    initial_weights: Annotated[
        Path | None,
        typer.Option(help="Start from these: folder of a published model, or a safetensors file."),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="The file holds a part of the network; the rest is drawn."),
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Start a run and follow it until it is over.

    The plan is frozen and hashed; every hospital trains under exactly it. The hospitals are shown the plan
    and nothing else; the run begins when as many as its quorum approve, and who approves later joins at the
    next round. With --parent, the hospitals see what changes, and approve anew. Leaving with Ctrl-C leaves
    the run going: `run watch` follows it again.

    With --initial-weights the digest of the weights is part of the plan that the hospitals approve. The file
    must hold every tensor of the plan's network, by its name and shape, in float32; with --partial some of
    them are enough.
    """
    from server.flower.control import Control
    from server.submission import submit

    plan = read_plan(plan_file)
    coordinator, actor = open_for(home, Action.RUN_START)
    if parent is not None:
        plan = plan.model_copy(update={"parent": coordinator.runs.get(parent).plan_sha256})
    initial = None
    if initial_weights is not None:
        from server.initial_weights import read_initial_weights

        initial = read_initial_weights(initial_weights, plan, coordinator.anchors, partial=partial)
    elif partial:
        raise ConfigError("A part of no weights was asked for.", "Give `--initial-weights` with `--partial`.")
    Control(CoordinatorHome(home)).require_running()
    run = submit(coordinator, plan, actor=actor, initial=initial)
    _follow(coordinator, run.run_id, Output(as_json), detach=detach)


def run_extend(
    run_id: RunArgument,
    rounds: Annotated[int, typer.Option(help="Further rounds.", min=1, max=10_000)],
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Peak of the learning rate in them; left out, as it was.", show_default=False),
    ] = None,
    detach: DetachOption = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Go on from a finished run by further rounds, under a plan that the hospitals approve anew.

    The new run starts from the final weights of the finished one, whose digest is in its plan, with all that
    coordinator and hospitals keep from round to round, and with the same weight of each hospital that was
    counted. Its learning rate is a whole curve of its own: warm-up, then a cosine over the new rounds.
    """
    from server.flower.control import Control
    from server.submission import extend

    coordinator, actor = open_for(home, Action.RUN_START)
    Control(CoordinatorHome(home)).require_running()
    run = extend(coordinator, run_id, num_rounds=rounds, learning_rate=learning_rate, actor=actor)
    _follow(coordinator, run.run_id, Output(as_json), detach=detach)


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
    detach: DetachOption = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that was stopped or has failed, from its last finished round, and follow it.

    What the hospitals have approved holds on, for it is the same run under the same plan; each is asked as
    soon as it has seen that the run is open again. A run that was going when the coordinator ended goes on by
    itself after `serve`, on another machine too if it has the home folder.
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


def _follow(coordinator: Coordinator, run_id: str, output: Output, *, detach: bool) -> None:
    from server.progress import watch_run

    if detach:
        output.result(
            {"run_id": run_id},
            f"{run_id} waits for the hospitals' approval; `run watch {run_id}` follows it.",
        )
    else:
        watch_run(coordinator, run_id, output)


def run_list(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List all runs: where each stands, how far it is, and the model that it published."""
    from server.coordinator import Coordinator
    from shared.plan import Plan

    coordinator = Coordinator.open(CoordinatorHome(home))
    done = coordinator.outcomes.num_aggregated()
    models = {model.run_id: model.model_id for model in coordinator.models.all()}
    rows = [
        {
            "run_id": run.run_id,
            "name": run.name,
            "state": run.state.value,
            "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created_at)),
            "rounds": f"{done.get(run.run_id, 0)} of {Plan.from_toml(run.plan_toml).rounds.count}",
            "model_id": models.get(run.run_id, ""),
        }
        for run in coordinator.runs.all()
    ]
    Output(as_json).table("Runs", rows, empty="No run yet: `mammofed-coordinator run start PLAN.toml`.")


def run_show(
    run_id: RunArgument,
    number: Annotated[
        int | None,
        typer.Option("--round", help="This round alone: who was asked, answered, was counted.", min=1),
    ] = None,
    watch: WatchOption = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Show a run: each round, what became of each hospital, and how the model does.

    With --watch it is shown anew whenever something has changed, until the run is over.
    """
    from server.coordinator import Coordinator
    from server.progress import picture_of, receipt_of
    from server.run_document import run_document
    from server.summary import last_parts, summarize
    from shared.records import Phase

    coordinator = Coordinator.open(CoordinatorHome(home))

    def read() -> tuple[dict[str, Any], RenderableType]:
        run = coordinator.runs.get(run_id)
        summary = summarize(run, coordinator)
        trouble = "" if run.state.is_over else coordinator.clock.trouble()
        stands = {"state": run.state.value, "trouble": trouble, "stamp": coordinator.outcomes.stamp(run_id)}
        if number is None:
            picture = picture_of(summary, trouble=trouble)
        else:
            parts = last_parts(coordinator, run_id, Phase.TRAIN, number)
            picture = receipt_of(summary, number, parts)
        if not as_json:
            return stands, picture
        document = {**run_document(summary, coordinator), "trouble": trouble}
        if number is not None:
            document["rounds"] = [each for each in document["rounds"] if each["number"] == number]
        return document, picture

    Output(as_json).show(read, watch=watch, is_over=lambda values: RunState(values["state"]).is_over)
