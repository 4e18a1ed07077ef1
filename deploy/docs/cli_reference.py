"""Writes the reference of both command lines from their own help: `python -m deploy.docs.cli_reference`.

The text depends on the commands alone, not on the terminal, the environment or the person's home.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator

import click
import typer
from typer.core import TyperArgument

import client.cli
import server.cli

APPS = {"mammofed-coordinator": server.cli.app, "mammofed-site": client.cli.app}

_HEAD = """\
# Command lines

Generated from the programs' own help: `make docs`. Exit codes: [exit-codes.md](exit-codes.md).
"""


def render() -> str:
    """The page: a section for each program, a part for each command."""
    parts = [_HEAD]
    for name, app in APPS.items():
        parts.extend(_command(name, typer.main.get_command(app), depth=2))
    return "\n".join(parts)


def leaves(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Every command that can be called, with its whole name."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    for child, each in command.commands.items():
        yield from leaves(f"{name} {child}", each)


def options() -> dict[str, list[str]]:
    """Every program and command with the names of its arguments and options, in order."""
    return {
        name: [" / ".join([*each.opts, *each.secondary_opts]) for each in command.params]
        for program, app in APPS.items()
        for name, command in everything(program, typer.main.get_command(app))
    }


def everything(program: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """A program, and every command of it that can be called."""
    yield program, command
    yield from leaves(program, command)


def _command(name: str, command: click.Command, *, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {name}\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    if isinstance(command, click.Group):
        if command.params:
            yield f"```\n{name} [OPTIONS] COMMAND\n```\n"
            yield from _table(command)
        for child, each in command.commands.items():
            yield from _command(f"{name} {child}", each, depth=depth + 1)
        return
    usage = " ".join([name, *(_usage(each) for each in command.params if isinstance(each, TyperArgument))])
    yield f"```\n{usage} [OPTIONS]\n```\n"
    yield from _table(command)


def _table(command: click.Command) -> Iterator[str]:
    yield "| Argument or option | Meaning | Default |\n| --- | --- | --- |"
    yield "\n".join(_row(each) for each in command.params) + "\n"


def _usage(argument: TyperArgument) -> str:
    return _metavar(argument) if argument.required else f"[{_metavar(argument)}]"


def _row(parameter: click.Parameter) -> str:
    help_text = getattr(parameter, "help", None) or ""
    variable = getattr(parameter, "envvar", None)
    if variable:
        help_text += f" Also from the environment: `{variable}`."
    return f"| `{_names(parameter)}` | {_in_a_cell(help_text)} | {_default(parameter)} |"


def _names(parameter: click.Parameter) -> str:
    if isinstance(parameter, TyperArgument):
        return _metavar(parameter)
    names = ", ".join(parameter.opts)
    return names if getattr(parameter, "is_flag", False) else f"{names} {_metavar(parameter)}"


def _metavar(parameter: click.Parameter) -> str:
    if parameter.metavar:
        return parameter.metavar
    if isinstance(parameter, TyperArgument):
        return (parameter.name or "").upper()
    return parameter.type.name.upper()


def _default(parameter: click.Parameter) -> str:
    if parameter.required:
        return "required"
    shown = getattr(parameter, "show_default", False)
    default = parameter.default
    if not shown or default is None or callable(default) or isinstance(default, bool):
        return ""
    return f"`{default}`"


def _in_a_cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


if __name__ == "__main__":
    sys.stdout.write(render())
