"""The page of the audit log: what is searched for in it, the newest first, and its export."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import TextIO
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from server.console.gate import acting
from server.console.pages import page
from server.coordinator import Coordinator
from server.store.audit import COORDINATOR
from shared.audit.chain import AuditLine
from shared.audit.export import write_json_lines, write_syslog
from shared.audit.search import Search
from shared.errors import ConfigError
from shared.persons.roles import Action

PLACE = "/audit"
LINES_SHOWN = 100
LINES_AT_ONCE = 500
WORDS = ("event", "actor", "subject", "words", "since", "until")
"""What may be searched by, as the page's fields are called."""


class AuditPages:
    """Shows the audit log and hands it out."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def routes(self) -> list[Route]:
        """Where they answer."""
        return [
            Route(PLACE, self.show, methods=["GET"]),
            Route(f"{PLACE}/export", self.export, methods=["GET"]),
        ]

    def show(self, request: Request) -> Response:
        """The newest lines that fit, or those before a line."""
        acting(request, Action.SERVICE_SHOW)
        asked = {name: request.query_params.get(name, "").strip() for name in WORDS}
        before = request.query_params.get("before", "")
        found = self._coordinator.audit.search(
            search_of(asked),
            before=int(before) if before.isdecimal() and len(before) < 18 else None,
            at_most=LINES_SHOWN + 1,
        )
        told = {name: value for name, value in asked.items() if value}
        return page(
            request,
            "audit.html.j2",
            asked=asked,
            lines=found[:LINES_SHOWN],
            later=urlencode(told) if before else None,
            earlier=urlencode({**told, "before": found[LINES_SHOWN - 1].sequence})
            if len(found) > LINES_SHOWN
            else None,
            query=urlencode(told),
        )

    def export(self, request: Request) -> Response:
        """All lines that fit, in their order, as `audit export` writes them."""
        acting(request, Action.AUDIT_EXPORT)
        asked = {name: request.query_params.get(name, "").strip() for name in WORDS}
        lines = self._coordinator.audit.lines(search=search_of(asked))
        if request.query_params.get("form") == "syslog":
            syslog = partial(write_syslog, hostname=COORDINATOR)
            return _file(_written(lines, syslog), "audit.log", "text/plain")
        return _file(_written(lines, write_json_lines), "audit.jsonl", "application/jsonl")


def search_of(asked: Mapping[str, str]) -> Search:
    """What is searched for.

    Raises
    ------
    ConfigError
        A day is none.
    """
    since, until = (_day(asked.get(name, "")) for name in ("since", "until"))
    return Search(
        event=asked.get("event", ""),
        actor=asked.get("actor", ""),
        subject=asked.get("subject", ""),
        words=asked.get("words", ""),
        from_ms=_ms(since) if since else None,
        to_ms=_ms(until + datetime.timedelta(days=1)) if until else None,
    )


def _day(text: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text) if text else None
    except ValueError as error:
        raise ConfigError("That is no day.", "Write it as 2026-03-31.") from error


def _ms(day: datetime.date) -> float:
    try:
        return datetime.datetime.combine(day, datetime.time()).astimezone().timestamp() * 1000
    except (ValueError, OverflowError) as error:
        raise ConfigError("That day is too far away.", "Write it as 2026-03-31.") from error


def _file(content: Iterator[str], name: str, kind: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(content, media_type=kind, headers=headers)


def _written(
    lines: Iterator[AuditLine], write: Callable[[Iterable[AuditLine], TextIO], None]
) -> Iterator[str]:
    while some := list(islice(lines, LINES_AT_ONCE)):
        text = io.StringIO()
        write(some, text)
        yield text.getvalue()
