"""Persons at the terminal: how they give their token, and the commands `user add`, `list` and `disable`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import click
import typer

from shared.persons.roles import Action, Role
from shared.persons.token import VARIABLE, PersonToken, given_token
from shared.terminal import Output

if TYPE_CHECKING:
    from shared.persons.side import OpenSide

SideHomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="The home folder.", envvar="MAMMOFED_HOME", show_default=False),
]
SideJsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def take_token_file(
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help=f"File that holds your personal token; without it, {VARIABLE} of the environment.",
        ),
    ] = None,
) -> None:
    """Callback of a command line: an option of the program itself, for all of its commands."""


def token_at_terminal() -> PersonToken | None:
    """The token that was given with the running command. Raises TrustError; see `given_token`."""
    context = click.get_current_context(silent=True)
    file = None if context is None else context.find_root().params.get("token_file")
    return given_token(os.environ, Path(file) if file else None)


def person_commands(open_side: OpenSide) -> typer.Typer:
    """The group `person` of a command line."""
    app = typer.Typer(
        help="Persons who act here: each has a token of their own and a role.", no_args_is_help=True
    )

    @app.command("add")
    def add(
        name: Annotated[str, typer.Argument(help="Name for the audit log: a-z, 0-9, dots and hyphens.")],
        role: Annotated[
            Role, typer.Option(help="What they may do; each role may do what those before it may.")
        ],
        home: SideHomeOption = None,
        as_json: SideJsonOption = False,
    ) -> None:
        """Add a person: prints their token, once.

        Hand it to them by a confidential way; only its hash is kept. They give it with each command that
        changes something, in MAMMOFED_TOKEN or in a file by --token-file. The first person must be an
        administrator. Until there is one, whoever owns the home folder is; from then on nobody acts without
        a token.
        """
        side = open_side(home)
        actor = side.acting(Action.PERSON_MANAGE, token_at_terminal())
        token = side.persons.add(name, role, actor=actor.name, at=time.time()).reveal()
        Output(as_json).result({"name": name, "role": role.value, "token": token}, token)

    @app.command("list")
    def list_persons(home: SideHomeOption = None, as_json: SideJsonOption = False) -> None:
        """List everybody who has or had a token."""
        rows = [
            {
                "name": person.name,
                "role": person.role.value,
                "state": person.state.value,
                "key_id": person.verify_key.key_id,
                "added": time.strftime("%Y-%m-%d %H:%M", time.localtime(person.added_at)),
            }
            for person in open_side(home).persons.all()
        ]
        empty = "Nobody was added yet: whoever owns the home folder acts as administrator."
        Output(as_json).table("Persons", rows, empty=empty)

    @app.command("disable")
    def disable(
        name: Annotated[str, typer.Argument(help="Name of the person, from `user list`.")],
        home: SideHomeOption = None,
        as_json: SideJsonOption = False,
    ) -> None:
        """End a person's token for good.

        What they did and signed stays theirs, and nobody else gets their name.
        """
        side = open_side(home)
        actor = side.acting(Action.PERSON_MANAGE, token_at_terminal())
        side.persons.disable(name, actor=actor.name, at=time.time())
        Output(as_json).result({"name": name, "state": "disabled"}, f"The token of '{name}' has ended.")

    return app
