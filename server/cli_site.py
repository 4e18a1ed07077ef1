"""`mammofed-coordinator site`: invite hospitals, let them in by hand, list them, end their membership."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Annotated

import typer

from server.acting import open_for
from server.cli_options import HOME, HomeOption, JsonOption
from server.home import CoordinatorHome
from shared.errors import ConfigError
from shared.identifiers import SITE_NAME, new_site_id
from shared.persons.roles import Action
from shared.terminal import Output

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
    from shared.enrolment.token import InvitationToken, Secret, hash_secret
    from shared.trust.certificates import fingerprint

    if not SITE_NAME.fullmatch(name):
        raise ConfigError(f"'{name}' cannot be a site's name.", "Use a-z, 0-9 and hyphens, at most 63.")
    opened = CoordinatorHome(home)
    settings = opened.settings()
    coordinator, actor = open_for(home, Action.SITE_MANAGE)
    host, port = settings.enrolment
    token = InvitationToken(
        host=host,
        port=port,
        root_fingerprint=fingerprint(opened.root_certificate_file.read_bytes()),
        site_name=name,
        secret=Secret.generate(),
    )
    now = time.time()
    coordinator.federation.invite(
        secret_hash=hash_secret(token.secret),
        site_id=new_site_id(),
        site_name=name,
        now=now,
        expires_at=now + days * 86_400,
        actor=actor,
        by_hand=approve_by_hand,
    )
    text = token.reveal()
    Output(as_json).result({"site": name, "token": text, "expires_at": now + days * 86_400}, text)


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
    from server.coordinator import identity_of
    from shared.trust.fingerprint import same_fingerprint

    coordinator, actor = open_for(home, Action.SITE_MANAGE)
    identity, now = identity_of(CoordinatorHome(home)), time.time()
    keys = coordinator.applications.get(name).keys
    if fingerprint is None:
        typer.echo(f"'{name}' waits with keys of this fingerprint:\n  {keys.fingerprint}", err=True)
        if not typer.confirm("Does the hospital read out the very same?", err=True):
            raise ConfigError("The site was not approved.", "It still waits: approve or reject it.")
    elif not same_fingerprint(fingerprint, keys.fingerprint):
        raise ConfigError(
            "The keys that wait have another fingerprint.",
            "If the hospital reads out what you gave, somebody else used its invitation: reject the site.",
        )
    coordinator.applications.approve(
        name,
        fingerprint=keys.fingerprint,
        issue=lambda approved, site_id: identity.issue(approved.csr_pem, site_id, now=now),
        now=now,
        actor=actor,
    )
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
def site_list(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the hospitals: those that wait for approval, then those that were let in."""
    from server.coordinator import Coordinator
    from server.lifecycle import SiteState
    from shared.versions import fit

    coordinator = Coordinator.open(CoordinatorHome(home))
    waiting = [
        (each.site_name, each.site_id, SiteState.PENDING, each.keys.software_version, each.asked_at)
        for each in coordinator.applications.waiting()
    ]
    enrolled = [
        (site.name, site.site_id, site.state, site.software_version, site.enrolled_at)
        for site in coordinator.federation.sites()
    ]
    rows = [
        {
            "name": name,
            "site_id": site_id,
            "state": state.value,
            "software": software,
            "fits": fit(version("mammofed"), software).value,
            "enrolled": time.strftime("%Y-%m-%d %H:%M", time.localtime(since)),
        }
        for name, site_id, state, software, since in [*waiting, *enrolled]
    ]
    Output(as_json).table(
        "Sites", rows, empty="No hospital has joined yet: `mammofed-coordinator site invite`."
    )
