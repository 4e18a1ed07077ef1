"""How both command lines speak: results, tables, errors, logs, for persons or as JSON."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from shared.errors import MammofedError
from shared.logs import BriefFormatter
from shared.proxy import forget_environment

PIPE_WIDTH = 120
WATCH_EVERY_S = 1.0
PRIVATE_UMASK = 0o077


Advance = Callable[[int, int], None]
"""Called with how much is done and how much there is."""


class Output:
    """Where a command's results go: text for a person, or one JSON value for a machine."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=PIPE_WIDTH)

    def result(self, values: Mapping[str, Any], text: str) -> None:
        """Print a result in the form that was asked for."""
        if self.as_json:
            self.json(values)
        else:
            self.console.print(text, markup=False, soft_wrap=True)

    def json(self, values: Any) -> None:
        """Print one JSON value on a line of its own."""
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()

    def table(self, title: str, rows: Sequence[Mapping[str, Any]], *, empty: str) -> None:
        """Print rows as a table; `empty` says what to do when there are none."""
        if self.as_json:
            self.json(list(rows))
        else:
            self.console.print(table_of(title, rows, empty=empty))

    def show(
        self,
        read: Callable[[], tuple[Any, RenderableType]],
        *,
        watch: bool,
        is_over: Callable[[Any], bool] = lambda _values: False,
    ) -> None:
        """Show something once, or again whenever its values change, until it is over or Ctrl-C is pressed.

        Parameters
        ----------
        read
            Reads it anew: its JSON values, and how a person sees it.
        """
        values, picture = read()
        if not watch:
            self._show(values, picture)
            return
        if self.as_json or not self.console.is_terminal:
            with contextlib.suppress(KeyboardInterrupt):
                self._show(values, picture)
                while not is_over(values):
                    time.sleep(WATCH_EVERY_S)
                    last = values
                    values, picture = read()
                    if values != last:
                        self._show(values, picture)
            return
        with (
            contextlib.suppress(KeyboardInterrupt),
            Live(picture, console=self.console, screen=False) as live,
        ):
            while not is_over(values):
                time.sleep(WATCH_EVERY_S)
                values, picture = read()
                live.update(picture)

    def _show(self, values: Any, picture: RenderableType) -> None:
        if self.as_json:
            self.json(values)
        else:
            self.console.print(picture)

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[Advance]:
        """A progress bar with rate and time left; silent with JSON."""
        with self.stages(title) as (advance,):
            yield advance

    @contextlib.contextmanager
    def stages(self, *titles: str) -> Iterator[tuple[Advance, ...]]:
        """Progress bars for what comes one after the other; each appears when its stage begins."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, disable=self.as_json) as bars:
            yield tuple(_stage(bars, title) for title in titles)

    def log_to(self, file: Path) -> None:
        """Send this process's log to a file of its own."""
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _log_to(logging.FileHandler(file))


def table_of(title: str, rows: Sequence[Mapping[str, Any]], *, empty: str) -> RenderableType:
    """Rows as a person sees them; `empty` says what to do when there are none."""
    if not rows:
        return Text(empty)
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in rows[0]:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))
    return table


def _stage(bars: Progress, title: str) -> Advance:
    begun: list[TaskID] = []

    def advance(done: int, total: int) -> None:
        if not begun:
            begun.append(bars.add_task(title, total=None, rate=""))
        speed = next(task.speed for task in bars.tasks if task.id == begun[0])
        bars.update(begun[0], completed=done, total=total, rate=f"{speed:.1f}/s" if speed else "")

    return advance


def log_to_standard_error() -> None:
    """Send a child process's log where its supervisor keeps it."""
    _log_to(logging.StreamHandler())


def _log_to(handler: logging.Handler) -> None:
    handler.setFormatter(BriefFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in ("httpx", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def run_command_line(app: typer.Typer) -> None:
    """Run a command line; an error that a person can act on becomes two lines and its exit code.

    Files that it or its children make are their owner's alone, unless written with another mode on purpose.
    """
    os.umask(PRIVATE_UMASK)
    forget_environment()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        app()
    except MammofedError as error:
        Console(stderr=True, highlight=False).print(
            f"Error: {error.message}\n  {error.hint}", markup=False, soft_wrap=True
        )
        sys.exit(error.exit_code)
