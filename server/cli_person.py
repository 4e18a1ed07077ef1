"""`mammofed-coordinator user password`, `second-factor` and `single-sign-on`: what persons sign in by."""

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
from shared.errors import ConfigError, TrustError
from shared.persons.terminal import token_at_terminal
from shared.terminal import Output

MOST_CHARACTERS = 255

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


def person_single_sign_on(
    subject: Annotated[
        str | None,
        typer.Option("--subject", help="What the provider calls you; its refusal shows it to you."),
    ] = None,
    email: Annotated[
        str | None,
        typer.Option(
            "--verified-email",
            help="Your e-mail there, if the provider verifies it and gives it to nobody else, ever.",
        ),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Sign in by password alone again, and be signed out everywhere.")
    ] = False,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Let the single sign-on of your hospital open the web console for you.

    Your token says who you are, so that nobody else binds an account of theirs to your name. The provider is
    named in [single_sign_on] of coordinator.toml; your role stays what it is here. Nobody can be bound to two
    persons. A second factor is the provider's matter then.
    """
    from server.coordinator import Coordinator
    from server.store.identities import Claim, Identity

    place = CoordinatorHome(home)
    coordinator, output, settings = Coordinator.open(place), Output(as_json), place.settings().single_sign_on
    name = _whose(coordinator)
    if [subject is not None, email is not None, remove].count(True) != 1:
        raise ConfigError(
            "It must be said by what you are known there.",
            "Give one of --subject, --verified-email and --remove.",
        )
    if remove:
        coordinator.identities.release(name, actor=f"person:{name}", at=time.time())
        output.result({"name": name, "single_sign_on": "removed"}, f"'{name}' signs in by password alone.")
        return
    if settings is None:
        raise ConfigError(
            "There is no single sign-on.", "Name the provider in [single_sign_on] of coordinator.toml."
        )
    claim, value = (Claim.SUBJECT, subject) if subject else (Claim.VERIFIED_EMAIL, (email or "").lower())
    if not value or len(value) > MOST_CHARACTERS:
        raise ConfigError("That is nobody's name at a provider.", f"Give 1 to {MOST_CHARACTERS} characters.")
    coordinator.identities.bind(
        name,
        Identity(issuer=settings.issuer, claim=claim, value=value),
        actor=f"person:{name}",
        at=time.time(),
    )
    output.result(
        {"name": name, "single_sign_on": claim.value},
        f"'{name}' may sign in by {settings.label} from now on.",
    )


def _whose(coordinator: Coordinator) -> str:
    """The name of the person whose token was given."""
    token = token_at_terminal()
    if token is None:
        raise TrustError(
            "It must be known who you are.",
            "Give your token in MAMMOFED_TOKEN or with --token-file; `user add` makes a person.",
        )
    return coordinator.persons.find(token).name


def _read_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return ask_secret("New password", is_new=True)
