"""Both command lines over homes of their own, to be called as a person would."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

import client.acting
import client.cli
import server.acting
import server.cli
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from shared.persons.side import Side

APPS: Mapping[str, typer.Typer] = {"coordinator": server.cli.app, "site": client.cli.app}


@dataclass(frozen=True, slots=True)
class SideAtTerminal:
    """One side's home and command line."""

    role: str
    home: Path

    def call(self, *arguments: str, token: str = "", before: tuple[str, ...] = ()) -> Any:
        """The last JSON that a command prints. Raises the error that it would show."""
        return json.loads(self.text(*arguments, "--json", token=token, before=before).splitlines()[-1])

    def text(self, *arguments: str, token: str = "", before: tuple[str, ...] = ()) -> str:
        """What a command prints. Raises the error that it would show."""
        done = CliRunner().invoke(
            APPS[self.role],
            [*before, *arguments, "--home", str(self.home)],
            env={"MAMMOFED_TOKEN": token},
        )
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    def open(self) -> Side:
        """The same home, seen from inside."""
        acting = server.acting if self.role == "coordinator" else client.acting
        return acting.open_side(self.home)

    def deeds(self) -> list[tuple[str, str]]:
        """Actor and event of every line of its log."""
        return [(line.actor, line.name) for line in self.open().log.lines()]


def sides(folder: Path) -> Iterator[SideAtTerminal]:
    """A founded coordinator and a site that has not joined."""
    home = CoordinatorHome(folder / "coordinator")
    found(home, CoordinatorSettings(name="Test"), now=time.time(), actor="local:test")
    yield SideAtTerminal("coordinator", home.folder)
    yield SideAtTerminal("site", folder / "site")
