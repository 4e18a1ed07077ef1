"""`mammofed-coordinator site`: invite hospitals, let them in by hand, list them, end their membership."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from server.acting import open_for
from server.cli_options import HOME, HomeOption, JsonOption, WatchOption
from server.home import CoordinatorHome
from shared.errors import ConfigError
from shared.persons.roles import Action
from shared.terminal import Output

if TYPE_CHECKING:
    from rich.console import RenderableType

site_app = typer.Typer(help="Hospitals of the federation.", no_args_is_help=True)

SiteArgument = Annotated[str, typer.Argument(help="Name of the hospital, from `site list`.")]


@site_app.command("invite")
def site_invite(
    name: Annotated[str, typer.Argument(help="Name of the hospital: a-z, 0-9 and hyphens.")],
    days: Annotated[float, typer.Option(help="How many days the invitation is valid.", min=0.001)] = 7.0,
    approve_by_hand: Annotated[
        bool,
        typer.Option("--approve-by-hand", help="Let the hospital in only after `site approve` of its keys."),
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Invite a hospital: prints a one-time token, once.

    Hand the token to the hospital's IT by a confidential way. It carries the coordinator's address and the
    fingerprint of its root certificate; only its hash is kept.
    """
    from server.joining import invite

    coordinator, actor = open_for(home, Action.SITE_MANAGE)
    invitation = invite(
        CoordinatorHome(home),
        coordinator,
        name,
        days=days,
        by_hand=approve_by_hand,
        now=time.time(),
        actor=actor,
    )
    text = invitation.token.reveal()
    Output(as_json).result({"site": name, "token": text, "expires_at": invitation.expires_at}, text)


@site_app.command("withdraw")
def site_withdraw(name: SiteArgument, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Withdraw the invitations to a hospital that it has not used."""
    coordinator, actor = open_for(home, Action.SITE_MANAGE)
    num = coordinator.federation.withdraw(name, now=time.time(), actor=actor)
    Output(as_json).result({"site": name, "withdrawn": num}, f"Withdrawn: {num} invitation(s) to '{name}'.")


@site_app.command("approve")
def site_approve(
    name: SiteArgument,
    fingerprint: Annotated[
        str | None,
        typer.Option(help="The fingerprint that the hospital has told you; without it, you are asked."),
    ] = None,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Let a hospital in that was invited with --approve-by-hand and waits.

    Compare the fingerprint with the one that the hospital's `join` shows, by telephone.
    """
    from server.joining import approve

    coordinator, actor = open_for(home, Action.SITE_MANAGE)
    if fingerprint is None:
        fingerprint = coordinator.applications.get(name).keys.fingerprint
        typer.echo(f"'{name}' waits with keys of this fingerprint:\n  {fingerprint}", err=True)
        if not typer.confirm("Does the hospital read out the very same?", err=True):
            raise ConfigError("The site was not approved.", "It still waits: approve or reject it.")
    approve(CoordinatorHome(home), coordinator, name, fingerprint=fingerprint, now=time.time(), actor=actor)
    Output(as_json).result({"site": name, "state": "active"}, f"'{name}' is approved.")


@site_app.command("reject")
def site_reject(name: SiteArgument, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Send a hospital away that waits for approval."""
    coordinator, actor = open_for(home, Action.SITE_MANAGE)
    coordinator.applications.reject(name, now=time.time(), actor=actor)
    Output(as_json).result({"site": name, "state": "rejected"}, f"'{name}' is rejected.")


@site_app.command("revoke")
def site_revoke(
    name: SiteArgument,
    reason: Annotated[str, typer.Option(help="Why, for the audit log; no patient data.")] = "",
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """End a hospital's membership at once: certificate, node and part in runs.

    What it has contributed to earlier rounds stays in the model. To let it in again, invite it under
    another name.
    """
    coordinator, actor = open_for(home, Action.SITE_MANAGE)
    coordinator.memberships.revoke(name, reason=reason or None, now=time.time(), actor=actor)
    Output(as_json).result({"site": name, "state": "revoked"}, f"'{name}' is revoked.")


@site_app.command("list")
def site_list(watch: WatchOption = False, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the hospitals: those that wait for approval, those that were let in, those that are invited.

    Contact is known while the coordinator runs. Examples are what a hospital last told under its own policy.
    """
    from server.coordinator import Coordinator
    from server.flower.control import Control
    from server.member_rows import machine_of_invited, of_machine, of_person, person_of_invited
    from server.members import enrolled_members, waiting_members
    from shared.terminal import table_of

    opened = CoordinatorHome(home)
    coordinator, control = Coordinator.open(opened), Control(opened)

    def read() -> tuple[list[dict[str, Any]], RenderableType]:
        now, waiting = time.time(), waiting_members(coordinator)
        members = [*waiting, *enrolled_members(coordinator, control.contacts())]
        known = {each.name for each in members}
        invited = [name for name in coordinator.federation.invited(now=now) if name not in known]
        shown = [*(of_person(each, now=now) for each in members), *map(person_of_invited, invited)]
        table = table_of(
            "Sites", shown, empty="No hospital has joined yet: `mammofed-coordinator site invite`."
        )
        return [*map(of_machine, members), *map(machine_of_invited, invited)], table

    Output(as_json).show(read, watch=watch)
