"""`mammofed-coordinator plan`: write a plan, look through one, see that of a run."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli_options import HOME, HomeOption, JsonOption
from server.home import CoordinatorHome
from shared.errors import PlanError
from shared.terminal import Output

if TYPE_CHECKING:
    from shared.plan import Plan

plan_app = typer.Typer(help="Plans: what hospitals train under.", no_args_is_help=True)


@plan_app.command("new")
def plan_new(
    name: Annotated[str, typer.Argument(help="Name of the run.")],
    rounds: Annotated[
        int | None, typer.Option(help="How many rounds; needed without --like.", min=1, show_default=False)
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="Id of a run whose plan this one begins with.", show_default=False)
    ] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Print a plan with every setting, to be changed and given to `run start`.

    Without --like each setting but the rounds has its default. docs/plan.md says what each means.
    """
    from pydantic import ValidationError

    from server.coordinator import Coordinator
    from shared.plan import Plan, RoundsPlan

    try:
        if like is not None:
            before = Plan.from_toml(Coordinator.open(CoordinatorHome(home)).runs.get(like).plan_toml)
            own = {"name": name, "parent": None, "extends": None, "initial_weights": None}
            plan = Plan.model_validate({**before.model_dump(), **own})
            if rounds is not None:
                count = plan.rounds.model_copy(update={"count": rounds})
                plan = plan.model_copy(update={"rounds": count})
        elif rounds is not None:
            plan = Plan(name=name, rounds=RoundsPlan(count=rounds))
        else:
            raise PlanError("A plan says how many rounds it has.", "Give `--rounds`, or `--like` a run.")
    except ValidationError as error:
        raise PlanError(
            "The name cannot be that of a run.", "Use up to 63 of a-z, 0-9 and hyphens."
        ) from error
    text = plan.to_toml()
    Output(as_json).result({"name": name, "plan_toml": text}, text.rstrip("\n"))


@plan_app.command("check")
def plan_check(
    plan_file: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="The plan to look through.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Look through a plan without starting anything: whether it is one, its hash, and what it will cost.

    Time and bytes are reckoned by the last run of the same network, over the hospitals of now.
    """
    from server.coordinator import Coordinator
    from server.estimate import estimate, past_rounds
    from server.summary import duration, size

    plan = read_plan(plan_file)
    coordinator = Coordinator.open(CoordinatorHome(home))
    num_sites, past = len(coordinator.federation.active()), past_rounds(plan, coordinator)
    cost = None if past is None else estimate(plan, past, num_sites=num_sites)
    lines = [
        f"'{plan.name}' is a plan: {plan.rounds.count} rounds, a quorum of {plan.rounds.quorum}, "
        f"{num_sites} hospitals now. Its hash: {plan.sha256}",
        "No run of this network has finished a round yet: its cost cannot be told."
        if cost is None
        else f"By '{cost.past.run_name}': about {duration(cost.seconds)}, {size(cost.down_bytes)} to the "
        f"hospitals and {size(cost.up_bytes)} from them.",
    ]
    values = {
        "name": plan.name,
        "plan_sha256": plan.sha256,
        "num_rounds": plan.rounds.count,
        "quorum": plan.rounds.quorum,
        "num_sites": num_sites,
        "by_run": None if cost is None else cost.past.run_id,
        "seconds": None if cost is None else cost.seconds,
        "down_bytes": None if cost is None else cost.down_bytes,
        "up_bytes": None if cost is None else cost.up_bytes,
    }
    Output(as_json).result(values, "\n".join(lines))


@plan_app.command("show")
def plan_show(
    run_id: Annotated[str, typer.Argument(help="Run id, from `run list`.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Print the plan of a run, as its hospitals were shown it."""
    from server.coordinator import Coordinator

    run = Coordinator.open(CoordinatorHome(home)).runs.get(run_id)
    values = {"run_id": run.run_id, "plan_sha256": run.plan_sha256, "plan_toml": run.plan_toml}
    Output(as_json).result(values, run.plan_toml.rstrip("\n"))


def read_plan(plan_file: Path) -> Plan:
    """The plan that a file holds.

    Raises
    ------
    PlanError
        The file cannot be read, or holds no plan.
    """
    from shared.plan import Plan

    try:
        return Plan.from_toml(plan_file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError("The plan cannot be read.", "Give an existing TOML file.") from error
