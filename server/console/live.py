"""Pages that follow what happens: parts of them are sent again when they have changed (server-sent events).

A part is HTML by the id of the element whose content it is. The stream ends with the sign-in that it was
opened under, and says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeAlias

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from server.console.desk import Desk
from server.console.gate import COOKIE
from shared.errors import MammofedError

EVERY_S = 1.0
ALIVE_EVERY_S = 15.0

Look: TypeAlias = Callable[[], Mapping[str, str] | None]
"""The parts of a page as they are now; None if nothing has changed since the last call."""


def follow(request: Request, desk: Desk, look: Look) -> Response:
    """Send the parts of a page whenever they change."""
    key = request.cookies.get(COOKIE, "")
    return StreamingResponse(_events(key, desk, look), media_type="text/event-stream")


async def _events(key: str, desk: Desk, look: Look) -> AsyncIterator[str]:
    sent: dict[str, str] = {}
    said_at = time.monotonic()
    while True:
        try:
            if await run_in_threadpool(desk.who, key) is None:
                yield "event: ended\ndata:\n\n"
                return
            parts = await run_in_threadpool(look)
        except MammofedError:
            parts = None  # a passing fault of the store; the next look comes soon
        new = {name: html for name, html in (parts or {}).items() if sent.get(name) != html}
        if new or time.monotonic() - said_at > ALIVE_EVERY_S:
            yield f"data: {json.dumps(new)}\n\n"
            sent |= new
            said_at = time.monotonic()
        await anyio.sleep(EVERY_S)
