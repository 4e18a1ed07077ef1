"""`mammofed-coordinator person password` and `person second-factor`: what persons sign in by."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import click
import typer

from server.cli_options import HOME, HomeOption, JsonOption
from server.home import CoordinatorHome
from server.passphrases import ask_secret
from shared.errors import TrustError
from shared.persons.terminal import token_at_terminal
from shared.terminal import Output

if TYPE_CHECKING:
    from server.coordinator import Coordinator


def person_password(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Set your own password for the web console, in the place of the one before.

    Your token says who you are, so that nobody else ever knows your password. It is asked for twice at a
    terminal; else it is the first line of standard input. You are signed out wherever you were signed in.
    """
    from server.console.passwords import encode
    from server.coordinator import Coordinator

    coordinator = Coordinator.open(CoordinatorHome(home))
    name = _whose(coordinator)
    encoded = encode(_read_password(), name=name)
    coordinator.passwords.set(name, encoded, actor=f"person:{name}", at=time.time())
    Output(as_json).result({"name": name, "password": "set"}, f"'{name}' has a new password for the console.")


def person_second_factor(
    remove: Annotated[
        bool, typer.Option("--remove", help="Ask for none any more, for example when the telephone is lost.")
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Set up a second factor of your own for the web console: a code that changes twice a minute.

    Your token says who you are. Photograph what is shown with the authenticator on your telephone, then type
    the code that it shows: from then on each sign-in asks for one. Recovery codes are shown once; each stands
    in for the second factor once. With --json the key comes first, on a line of its own, and the code is the
    first line of standard input.
    """
    from server.console import second_factor
    from server.console.second_step import SecondStep
    from server.coordinator import Coordinator

    coordinator, output = Coordinator.open(CoordinatorHome(home)), Output(as_json)
    name, factors = _whose(coordinator), coordinator.second_factors
    actor = f"person:{name}"
    if remove:
        factors.remove(name, actor=actor, at=time.time())
        output.result(
            {"name": name, "second_factor": "removed"}, f"No second factor is asked of '{name}' any more."
        )
        return
    secret = second_factor.new_secret()
    factors.begin(name, secret, at=time.time())
    address = second_factor.address_of(secret, name=name, federation=coordinator.name)
    if as_json:
        output.json({"name": name, "address": address})
        code = sys.stdin.readline()
    else:
        typer.echo(f"{second_factor.drawing_of(address)}\n{address}\n")
        code = str(click.prompt("Code of now", err=True))
    codes = SecondStep(factors).confirm(name, code, actor=actor, now=time.time())
    listed = "\n".join(f"  {each}" for each in codes)
    output.result(
        {"name": name, "second_factor": "set", "recovery_codes": codes},
        f"From now on a code is asked of '{name}'. Recovery codes, shown this once:\n{listed}",
    )


def _whose(coordinator: Coordinator) -> str:
    """The name of the person whose token was given."""
    token = token_at_terminal()
    if token is None:
        raise TrustError(
            "It must be known who you are.",
            "Give your token in MAMMOFED_TOKEN or with --token-file; `person add` makes a person.",
        )
    return coordinator.persons.find(token).name


def _read_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return ask_secret("New password", is_new=True)
