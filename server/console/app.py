"""The console's application: which address leads where."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from server.console.account import AccountPages
from server.console.alerts import AlertPages
from server.console.audit import AuditPages
from server.console.desk import Desk, NotLetInError
from server.console.federation import FederationPages
from server.console.gate import COOKIE, Gate
from server.console.models import ModelPages
from server.console.new_run import NewRunPages
from server.console.pages import error_page, page, static_file
from server.console.runs import RunControl, RunPages
from server.console.second_step import SecondStep
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.issuing import hosts_of
from shared.errors import MammofedError, NotFoundError, StoreError, TrustError, UnreachableError

_OWN_PATH = re.compile(r"/(?:[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*)?", re.ASCII)
_STATUS: tuple[tuple[type[MammofedError], int], ...] = (
    (TrustError, 403),
    (NotFoundError, 404),
    (UnreachableError, 503),
    (StoreError, 503),
    (MammofedError, 409),
)


def make_app(
    home: CoordinatorHome,
    coordinator: Coordinator,
    *,
    control: RunControl,
    clock: Callable[[], float] = time.time,
    lifespan: Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]] | None = None,
) -> ASGIApp:
    """The console of one home, behind its gate."""
    desk = Desk(
        coordinator.passwords, coordinator.sign_ins, SecondStep(coordinator.second_factors), clock=clock
    )
    doors = _Doors(desk)
    federation = FederationPages(home, coordinator, control=control, desk=desk)
    runs = RunPages(coordinator, control=control, desk=desk)
    app = Starlette(
        routes=[
            Route("/health", _health, methods=["GET"]),
            Route("/static/{name}", static_file, methods=["GET"]),
            Route("/sign-in", doors.show, methods=["GET"]),
            Route("/sign-in", doors.sign_in, methods=["POST"]),
            Route("/sign-out", doors.sign_out, methods=["POST"]),
            *federation.routes(),
            *NewRunPages(coordinator, control=control).routes(),
            *runs.routes(),
            *ModelPages(coordinator).routes(),
            *AlertPages(coordinator).routes(),
            *AuditPages(coordinator).routes(),
            *AccountPages(coordinator, desk=desk, clock=clock).routes(),
        ],
        exception_handlers={MammofedError: _tell, 404: _not_found, 405: _not_found},
        lifespan=lifespan,
    )
    app.state.federation = coordinator.name
    return Gate(app, hosts=hosts_of(home.settings()), desk=desk)


class _Doors:
    """Signing in and out."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def show(self, request: Request) -> Response:
        to = own_path(request.query_params.get("to", ""))
        if request.state.actor is not None:
            return RedirectResponse(to, status_code=303)
        return page(request, "sign_in.html.j2", to=to, name="", error=None)

    def sign_in(self, request: Request) -> Response:
        form = request.state.form
        name, to = form.get("name", ""), own_path(form.get("to", ""))
        try:
            key = self._desk.sign_in(
                name,
                form.get("password", ""),
                form.get("code", ""),
                address=request.client.host if request.client else "",
                brought=request.cookies.get(COOKIE, ""),
            )
        except NotLetInError as error:
            return page(request, "sign_in.html.j2", status=403, to=to, name=name, error=error)
        answer = RedirectResponse(to, status_code=303)
        answer.set_cookie(COOKIE, key, path="/", secure=True, httponly=True, samesite="strict")
        return answer

    def sign_out(self, request: Request) -> Response:
        self._desk.sign_out(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/sign-in", status_code=303)
        answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
        return answer


def own_path(text: str) -> str:
    """A path of this console, to go to after the sign-in; whatever else was asked for becomes `/`."""
    return text if _OWN_PATH.fullmatch(text) else "/"


def _health(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _tell(_request: Request, error: Exception) -> Response:
    assert isinstance(error, MammofedError)
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    return error_page(status, error.message, error.hint)


def _not_found(_request: Request, _error: Exception) -> Response:
    return error_page(404, "There is no such page.", "Begin at the federation.")
