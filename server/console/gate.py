"""What every request passes before anything answers it.

Checks, in this order:

1. the host that was asked for is one that the certificate names, so that no foreign name can be pointed here;
2. what may change something comes from a page of this very port, by what the browser itself says of it: the
   cookie is no proof of that, for browsers send it along to and from every other port of the same host;
3. its body is a small form;
4. somebody is signed in, or the path is one of `OPEN`.

Whatever the answer is, it bears `HEADERS`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.console.desk import Desk
from server.console.pages import error_page
from shared.errors import StoreError
from shared.persons.acting import Actor
from shared.persons.roles import Action

COOKIE = "__Host-mammofed"
"""By its prefix a browser takes it over TLS alone, for this host alone and for all of it."""

ELSEWHERE, BACK = "/sign-in/elsewhere", "/sign-in/back"
"""Where a browser is sent to the provider of a single sign-on, and where it comes back."""

OPEN = ("/sign-in", ELSEWHERE, BACK, "/health")
OPEN_FOLDER = "/static/"
SAFE_METHODS = {"GET", "HEAD"}
MOST_BYTES = 16_384
FORM = "application/x-www-form-urlencoded"

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # Under `no-referrer` a browser would not say where a form comes from.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""No HSTS: it would hold for every port of the host, and this one speaks nothing but TLS anyway."""


class Gate:
    """Lets requests pass to an application; `request.state` has their `actor` and their `form`.

    Parameters
    ----------
    hosts
        Names and addresses by which the console may be asked, without ports.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], desk: Desk) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope, receive)
        refusal = await self._foreign(request) or await self._unknown(request)
        await (refusal or self._app)(scope, receive, send_marked)

    async def _foreign(self, request: Request) -> Response | None:
        """What is said to a request that is not meant for this console, or comes from elsewhere."""
        host = request.headers.get("host", "")
        # 1.
        if _without_port(host) not in self._hosts:
            return error_page(
                421, "This console is not known by that name.", "Use the address that `serve` has shown."
            )
        if request.method in SAFE_METHODS:
            return None
        # 2.
        if not _is_from(request.headers, host):
            return error_page(
                403, "The request did not come from a page of this console.", "Open the page anew."
            )
        # 3.
        form = await _read_form(request)
        if form is None:
            return error_page(413, "What was sent is no small form.", "Open the page anew.")
        request.state.form = form
        return None

    async def _unknown(self, request: Request) -> Response | None:
        """What is said to somebody who is not signed in and must be."""
        # 4.
        try:
            actor = await run_in_threadpool(self._desk.who, request.cookies.get(COOKIE, ""))
        except StoreError as error:
            return error_page(503, error.message, error.hint)
        request.state.actor = actor
        path = request.url.path
        if actor is not None or path in OPEN or path.startswith(OPEN_FOLDER):
            return None
        if request.method in SAFE_METHODS:
            return RedirectResponse(f"/sign-in?to={path}", status_code=303)
        return error_page(401, "You are not signed in any more.", "Sign in, then do it again.")


def acting(request: Request, action: Action) -> Actor:
    """Who is signed in, if their role is enough. Raises TrustError if it is not."""
    actor: Actor = request.state.actor
    actor.require(action)
    return actor


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).strip("[]").lower()


def _is_from(headers: Headers, host: str) -> bool:
    return (
        headers.get("origin") == f"https://{host}"
        and headers.get("sec-fetch-site", "same-origin") == "same-origin"
    )


async def _read_form(request: Request) -> dict[str, Any] | None:
    if request.headers.get("content-type", "").partition(";")[0].strip() != FORM:
        return None
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            return None
    try:
        return dict(
            parse_qsl(body.decode("ascii"), keep_blank_values=True, encoding="utf-8", errors="strict")
        )
    except ValueError:
        return None
