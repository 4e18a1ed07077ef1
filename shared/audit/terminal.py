"""The commands `audit show`, `verify` and `export` of either command line."""

# Commands import what they need when they are called, so that help and errors come at once.

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.errors import ConfigError
from shared.persons.roles import Action
from shared.persons.terminal import SideHomeOption, SideJsonOption, token_at_terminal
from shared.terminal import Output

if TYPE_CHECKING:
    from shared.audit.chain import AuditLine
    from shared.audit.verification import Finding
    from shared.persons.side import OpenSide, Side


class Form(StrEnum):
    """How a log is exported."""

    JSONL = "jsonl"
    SYSLOG = "syslog"


SinceOption = Annotated[
    str,
    typer.Option("--since", help="From then on: a day or a time, such as 2026-03-31 or 2026-03-31T14:00."),
]


def audit_commands(open_side: OpenSide) -> typer.Typer:
    """The group `audit` of a command line."""
    app = typer.Typer(
        help="What was done here and by whom: a log that only grows, chained by hashes.", no_args_is_help=True
    )

    @app.command("show")
    def show(
        since: SinceOption = "",
        event: Annotated[
            str, typer.Option(help="This event alone, such as `run.finished`, or all of a kind: `run`.")
        ] = "",
        actor: Annotated[str, typer.Option(help="Part of the name of who did it.")] = "",
        subject: Annotated[str, typer.Option(help="Part of the id of what it happened to.")] = "",
        words: Annotated[str, typer.Option(help="Found in any of these, or in the details.")] = "",
        until: Annotated[str, typer.Option("--until", help="Before then, written as for --since.")] = "",
        limit: Annotated[int, typer.Option(help="At most so many lines, the newest.", min=1)] = 50,
        home: SideHomeOption = None,
        as_json: SideJsonOption = False,
    ) -> None:
        """Show the newest lines of the audit log that fit all that is asked: when, who, what, to whom."""
        from shared.audit.search import Search

        search = Search(
            event=event,
            actor=actor,
            subject=subject,
            words=words,
            from_ms=_ms(since) if since else None,
            to_ms=_ms(until) if until else None,
        )
        newest = open_side(home).log.search(search, at_most=limit)[::-1]
        output = Output(as_json)
        if as_json:
            output.json([line.to_document() for line in newest])
            return
        rows = [
            {
                "line": line.sequence,
                "time": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.at_ms / 1000)),
                "actor": line.actor,
                "event": line.name,
                "subject": line.subject,
                "details": " ".join(f"{name}={value}" for name, value in sorted(line.details.items())),
            }
            for line in newest
        ]
        output.table("Audit log", rows, empty="No such line.")

    @app.command("verify")
    def verify(
        of: Annotated[
            str, typer.Option(help="Verify the other side's log instead: `coordinator`, or a site id.")
        ] = "",
        log_file: Annotated[
            Path | None,
            typer.Option("--log", metavar="FILE", help="That side's `audit export --form jsonl`."),
        ] = None,
        home: SideHomeOption = None,
        as_json: SideJsonOption = False,
    ) -> None:
        """Check that no line was removed, altered or put in: names the first that was.

        The chain alone finds careless edits of this side's own log. Whoever can write to a log could compute
        the whole of it anew; so coordinator and sites exchange signed checkpoints in every round. With --of
        and --log, the other side's exported log is held against the checkpoints that this side has kept of
        it. Exit code 33: a log was altered. Exit code 34: it holds, and tells of a side that signed two
        histories.
        """
        from shared.audit.verification import verify_log

        side = open_side(home)
        if (log_file is None) == bool(of):
            raise ConfigError("A log of another side needs both --of and --log.", "Give both, or none.")
        finding = (
            verify_log(side.log.lines(), [], of=side.name)
            if log_file is None
            else _verify_other(side, of, log_file)
        )
        _say(Output(as_json), finding)
        finding.require_holding()

    @app.command("export")
    def export(
        form: Annotated[
            Form, typer.Option(help="JSON lines, to be verified elsewhere, or syslog after RFC 5424.")
        ] = Form.JSONL,
        since: SinceOption = "",
        home: SideHomeOption = None,
    ) -> None:
        """Write the audit log to standard output, for the other side, an auditor or a log collector.

        For `audit verify` at the other side, export all of it.
        """
        from shared.audit.export import write_json_lines, write_syslog

        side = open_side(home)
        side.acting(Action.AUDIT_EXPORT, token_at_terminal())
        if form is Form.JSONL:
            write_json_lines(_since(side, since), sys.stdout)
        else:
            write_syslog(_since(side, since), sys.stdout, hostname=side.name)

    return app


def _since(side: Side, since: str) -> Iterator[AuditLine]:
    from_ms = _ms(since) if since else 0
    return (line for line in side.log.lines() if line.at_ms >= from_ms)


def _ms(text: str) -> float:
    try:
        return datetime.datetime.fromisoformat(text).astimezone().timestamp() * 1000
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            "That is neither a day nor a time.", "Write it as 2026-03-31, or 2026-03-31T14:00."
        ) from error


def _verify_other(side: Side, of: str, log_file: Path) -> Finding:
    from shared.audit.export import read_json_lines
    from shared.audit.verification import verify_log

    checkpoints = side.log.checkpoints_of(of)
    if not checkpoints:
        raise ConfigError(
            "This side has kept no checkpoint of that other side.",
            "They come with each round. Name `coordinator`, or a site id.",
        )
    try:
        with log_file.open(encoding="utf-8") as stream:
            return verify_log(read_json_lines(stream), checkpoints, of=of)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("The exported log cannot be read.", "Check its name.") from error


def _say(output: Output, finding: Finding) -> None:
    document = finding.to_json()
    if output.as_json:
        output.json(document)
        return
    for told in finding.contradictions:
        output.result(
            {}, f"Line {told.sequence}: '{told.subject}' signed two histories: {told.details['reason']}."
        )
    if document["holds"]:
        passes = (
            f", and passes through {document['checkpoints']} checkpoints" if document["checkpoints"] else ""
        )
        output.result({}, f"The audit log of '{finding.of}' holds: {document['lines']} lines{passes}.")
        output.result({}, f"  Hash of the last: {document['head']}")
