"""`mammofed-coordinator person password`."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import sys
import time

import click

from server.cli_options import HOME, HomeOption, JsonOption
from server.home import CoordinatorHome
from shared.errors import ConfigError, TrustError
from shared.persons.terminal import token_at_terminal
from shared.terminal import Output


def person_password(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Set your own password for the web console, in the place of the one before.

    Your token says who you are, so that nobody else ever knows your password. It is asked for twice at a
    terminal; else it is the first line of standard input. You are signed out wherever you were signed in.
    """
    from server.console.passwords import encode
    from server.coordinator import Coordinator

    coordinator = Coordinator.open(CoordinatorHome(home))
    token = token_at_terminal()
    if token is None:
        raise TrustError(
            "It must be known whose password it is.",
            "Give your token in MAMMOFED_TOKEN or with --token-file; `person add` makes a person.",
        )
    person = coordinator.persons.find(token)
    encoded = encode(_read_password(), name=person.name)
    coordinator.passwords.set(person.name, encoded, actor=f"person:{person.name}", at=time.time())
    Output(as_json).result(
        {"name": person.name, "password": "set"}, f"'{person.name}' has a new password for the console."
    )


def _read_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first, second = (
        str(click.prompt(words, hide_input=True, err=True)) for words in ("New password", "The same again")
    )
    if first != second:
        raise ConfigError("The two passwords differ.", "Type the same one twice.")
    return first
