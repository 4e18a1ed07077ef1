"""What the page's listener answers.

Checks of a request, in this order:

1. the host that was asked for is this computer by name, so that no foreign name can be pointed here;
2. a browser says of it that it comes from this very page, or the request is for the empty page;
3. its key is of a link that counts;
4. the role of the link's person is enough for what is asked.
"""

from __future__ import annotations

import base64
import hashlib
import time
from importlib.resources import files

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client import presence
from client.followup.clinical import WrongFieldsError
from client.home import SiteHome
from client.page.clinical_form import CHOICES, FIELDS, is_open, keep_form, small_body
from client.page.links import actor_of, find
from client.status import Glance
from client.store.audit import Persons
from client.store.opening import open_site_store
from shared.errors import ConfigError, MammofedError, TrustError
from shared.pages import render
from shared.persons.acting import Actor
from shared.persons.roles import Action
from shared.proxy import is_loopback

_SCHEME = "Bearer "


def make_app(home: SiteHome) -> ASGIApp:
    """The page of one home. Raises StoreError if its database cannot be opened."""
    persons, glance = Persons(open_site_store(home.folder)), Glance(home)
    shell, policy = _shell()

    def acting(request: Request, action: Action) -> Actor:
        # 3.
        given = request.headers.get("authorization", "")
        link = find(home, given.removeprefix(_SCHEME), now=time.time()) if given.startswith(_SCHEME) else None
        if link is None:
            raise NoLinkError("This link has ended.", "Make a new one with `mammofed-site page`.")
        # 4.
        actor = actor_of(link, persons)
        actor.require(action)
        return actor

    def empty(_request: Request) -> Response:
        return HTMLResponse(shell, headers={"content-security-policy": policy})

    def state(request: Request) -> Response:
        acting(request, Action.SERVICE_SHOW)
        return JSONResponse(glance.look().to_json())

    def pause(request: Request) -> Response:
        telling = presence.pause(home, actor=acting(request, Action.SERVICE_PAUSE).name)
        return JSONResponse({"note": telling.note})

    def resume(request: Request) -> Response:
        telling = presence.resume(home, actor=acting(request, Action.SERVICE_PAUSE).name)
        return JSONResponse({"note": telling.note})

    def clinical_form(request: Request) -> Response:
        return JSONResponse({"is_open": is_open(home, acting(request, Action.SERVICE_SHOW))})

    async def clinical(request: Request) -> Response:
        actor = await run_in_threadpool(acting, request, Action.DATA_IMPORT)
        body = await small_body(request)
        return JSONResponse({"note": await run_in_threadpool(keep_form, home, body, actor=actor.name)})

    app = Starlette(
        routes=[
            Route("/", empty, methods=["GET"]),
            Route("/state", state, methods=["GET"]),
            Route("/pause", pause, methods=["POST"]),
            Route("/resume", resume, methods=["POST"]),
            Route("/clinical", clinical_form, methods=["GET"]),
            Route("/clinical", clinical, methods=["POST"]),
        ],
        exception_handlers={MammofedError: _tell},
    )
    return _OwnPageOnly(app)


class NoLinkError(TrustError):
    """No key, or one that does not count."""


_STATUS = ((NoLinkError, 401), (TrustError, 403), (ConfigError, 422))


def _tell(_request: Request, error: Exception) -> Response:
    assert isinstance(error, MammofedError)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 503)
    wrong = {"wrong": dict(error.wrong)} if isinstance(error, WrongFieldsError) else {}
    return JSONResponse({"error": error.message, "hint": error.hint, **wrong}, status_code=status)


class _OwnPageOnly:
    """Lets requests in that were meant for this page, and says what no other page may do with the answers."""

    _HEADERS = (
        (b"cache-control", b"no-store"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
    )

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._HEADERS]
            await send(message)

        if scope["type"] != "http":
            return
        if _is_own(Headers(scope=scope), scope["path"]):
            await self._app(scope, receive, send_marked)
        else:
            await JSONResponse({"error": "not for this page"}, status_code=403)(scope, receive, send_marked)


def _is_own(headers: Headers, path: str) -> bool:
    host = headers.get("host", "")
    # 1.
    if not is_loopback(host.rpartition(":")[0] or host):
        return False
    # 2.
    if path == "/":
        return True
    origin = headers.get("origin")
    from_here = origin is None or origin == f"http://{host}"
    return from_here and headers.get("sec-fetch-site", "same-origin") == "same-origin"


def _shell() -> tuple[str, str]:
    """The page without any content, and its Content Security Policy."""
    script = files(__package__).joinpath("page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shell = render(__package__, "page.html.j2", "page.css", script=script, fields=FIELDS, choices=CHOICES)
    style = shell.partition("<style>")[2].partition("</style>")[0]
    style_digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'sha256-{style_digest}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return shell, policy
