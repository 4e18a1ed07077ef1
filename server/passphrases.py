"""Where a command takes a passphrase from: a file, the terminal, or a pipe; never its arguments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from shared.errors import ConfigError

if TYPE_CHECKING:
    from shared.trust.passphrase import Passphrase

PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File with the passphrase on one line, or a descriptor such as /dev/fd/3. Left out, it is asked "
        "for, or read from standard input where that is no terminal.",
    ),
]


def read_passphrase(file: Path | None, *, is_new: bool) -> Passphrase:
    """The passphrase; at a terminal a new one is asked for twice.

    Raises
    ------
    ConfigError
        It cannot be read, differs the second time, or is a new one and too short.
    """
    from shared.files import read_secret_line
    from shared.trust.passphrase import Passphrase

    if file is not None:
        text = read_secret_line(file, what="the passphrase", setting="--passphrase-file")
    elif sys.stdin.isatty():
        text = ask_secret("Passphrase", is_new=is_new)
    else:
        text = sys.stdin.readline()
    passphrase = Passphrase(text.strip())  # the same from everywhere
    if is_new:
        passphrase.check_length()
    return passphrase


def ask_secret(what: str, *, is_new: bool) -> str:
    """What a person types at the terminal, unseen; a new secret twice. Raises ConfigError if they differ."""
    first = str(click.prompt(what, hide_input=True, err=True))
    if is_new and first != click.prompt("The same again", hide_input=True, err=True):
        raise ConfigError("The two differ.", "Type the same one twice.")
    return first
