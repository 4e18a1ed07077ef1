"""`mammofed-site plans`, `plan`, `pause`, `resume` and `leave`: what this site takes part in, and whether."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.cli_options import HOME, HomeOption, JsonOption
from client.home import SiteHome
from shared.terminal import Output

if TYPE_CHECKING:
    from client.consenting import Consenting, Decider
    from client.telling import Telling
    from shared.persons.roles import Action

plan_app = typer.Typer(help="One plan: show it, approve it, reject it.", no_args_is_help=True)

RunArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the plan's run, from `plans`.")]


def add_to(app: typer.Typer) -> None:
    """Make these commands part of a command line."""
    app.add_typer(plan_app, name="plan")
    for name, command in (("plans", plans), ("pause", pause), ("resume", resume), ("leave", leave)):
        app.command(name)(command)


def plans(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the plans that the coordinator has offered, and where each stands.

    Nothing of a run comes here before its plan is approved: no weights, and no permission to fetch any.
    """
    output = Output(as_json)
    with _consenting(SiteHome(home), output) as consenting:
        offered = consenting.plans.all()
    rows = [
        {
            "run_id": each.run_id,
            "plan": each.plan.name,
            "rounds": each.plan.rounds.count,
            "state": each.state.value,
            "reason": each.reason or ", ".join(each.rules),
            "by": each.decided_by or "",
            "received": time.strftime("%Y-%m-%d %H:%M", time.localtime(each.received_at)),
        }
        for each in offered
    ]
    output.table("Plans", rows, empty="No plan was offered yet.")


@plan_app.command("show")
def plan_show(run_id: RunArgument, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Show what a plan would run here, on how many examples, and what would leave.

    Every rule of the policy is held against it, and it is compared with the plan that it changes, or else
    with the one approved last.
    """
    from client.catalog import Catalog
    from client.plan_view import view_plan

    output, opened = Output(as_json), SiteHome(home)
    with _consenting(opened, output) as consenting, Catalog.open(opened.folder) as catalog:
        view = view_plan(run_id, consenting, catalog, opened.membership())
    output.result(view.to_json(), "\n".join(view.lines()))


@plan_app.command("approve")
def plan_approve(run_id: RunArgument, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Let this site train under a plan; a signed decision goes to the coordinator.

    It holds for this run and for exactly this plan. A changed plan, or one with more rounds, is offered anew.
    """
    from client.telling import tell

    opened, output = SiteHome(home), Output(as_json)
    with _consenting(opened, output) as consenting:
        decider = _decider(consenting, opened)
        approved = consenting.approve(run_id, decider)
        telling = tell(consenting, run_id=run_id)
    if telling.error is not None:
        # An approval is of use to a coordinator alone that knows of it.
        raise telling.error
    output.result(
        {"run_id": run_id, "state": approved.state.value, "told": telling.told},
        _with_note(f"The plan '{approved.plan.name}' of {run_id} is approved.", telling),
    )


@plan_app.command("reject")
def plan_reject(
    run_id: RunArgument,
    reason: Annotated[str, typer.Option(help="Why, for the coordinator; plain words, no patient data.")],
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Do not let this site train under a plan, or take an approval back; the reason goes to the coordinator.

    What this site has contributed to earlier rounds stays in the model.
    """
    from client.consenting import check_reason
    from client.telling import tell

    opened, output = SiteHome(home), Output(as_json)
    with _consenting(opened, output) as consenting:
        decider = _decider(consenting, opened)
        rejected = consenting.reject(run_id, check_reason(reason), decider)
        telling = tell(consenting, run_id=run_id)
    output.result(
        {"run_id": run_id, "state": rejected.state.value, "told": telling.told, "note": telling.note},
        _with_note(f"The plan '{rejected.plan.name}' of {run_id} is rejected.", telling),
    )
    if telling.error is not None and not telling.is_revoked:
        raise telling.error


def pause(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Stop taking part at once, in the middle of a round too; training ends within a step.

    The site stays a member, and the federation goes on without it until `resume`.
    """
    from client import presence
    from shared.persons.roles import Action

    opened, actor = _acting(home, Action.SERVICE_PAUSE)
    telling = presence.pause(opened, actor=actor)
    Output(as_json).result(
        {"state": "paused", "told": telling.told, "note": telling.note},
        _with_note("This site is paused.", telling),
    )


def resume(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Take part again, from the next round on."""
    from client import presence
    from shared.persons.roles import Action

    opened, actor = _acting(home, Action.SERVICE_PAUSE)
    telling = presence.resume(opened, actor=actor)
    Output(as_json).result(
        {"state": "resumed", "told": telling.told, "note": telling.note},
        _with_note("This site takes part again.", telling),
    )


def leave(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    untold: Annotated[
        bool, typer.Option("--untold", help="Leave also if the coordinator cannot be told.")
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Leave the federation for good, at once, in the middle of a round too.

    The coordinator ends the membership, and this site's keys are removed. The mammograms, their masks and
    what was written down stay. To take part again, join with a new invitation.
    """
    from client import presence
    from shared.errors import ConfigError
    from shared.persons.roles import Action

    opened, actor = _acting(home, Action.FEDERATION_JOIN)
    if not yes and not typer.confirm("Leave the federation and remove this site's keys?", err=True):
        raise ConfigError("This site has not left.", "Run `leave` again if it is to.")
    told = presence.leave(opened, untold=untold, actor=actor).told
    Output(as_json).result(
        {"state": "left", "told": told},
        "This site has left the federation; its keys are removed."
        + ("" if told else " The coordinator does not know: ask it to revoke this site."),
    )


@contextlib.contextmanager
def _consenting(home: SiteHome, output: Output) -> Iterator[Consenting]:
    """The home's plans, with what the coordinator offers now if it answers."""
    from client.consenting import Consenting
    from shared.errors import TrustError, UnreachableError

    home.membership()
    with Consenting(home) as consenting:
        try:
            consenting.tend()
        except UnreachableError:
            if not output.as_json:
                output.console.print("The coordinator does not answer: plans as they were last known.")
        except TrustError as error:
            # What is known and decided here holds all the same.
            typer.echo(f"{error.message} {error.hint}", err=True)
        yield consenting


def _with_note(text: str, telling: Telling) -> str:
    return f"{text} {telling.note}" if telling.note else text


def _acting(home: Path, action: Action) -> tuple[SiteHome, str]:
    """The home of a member, and the name of who acts on it."""
    from client.acting import open_for

    opened = SiteHome(home)
    opened.membership()
    return opened, open_for(home, action)[1]


def _decider(consenting: Consenting, home: SiteHome) -> Decider:
    from client.consenting import Decider
    from shared.persons.acting import who_acts
    from shared.persons.roles import Action
    from shared.persons.terminal import token_at_terminal

    token = token_at_terminal()
    actor = who_acts(consenting.persons, home=home.folder, token=token)
    actor.require(Action.PLAN_DECIDE)
    return Decider(actor=actor, token=token)
