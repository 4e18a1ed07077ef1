"""The console's application: which address leads where."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import httpx
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
from server.console.pages import error_page, own_path, page, static_file
from server.console.runs import RunControl, RunPages
from server.console.second_step import SecondStep
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.issuing import hosts_of
from server.single_sign_on import SingleSignOnSettings
from shared.errors import ConfigError, MammofedError, NotFoundError, StoreError, TrustError, UnreachableError

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
    single_sign_on: SingleSignOnSettings | None = None,
    transport: httpx.BaseTransport | None = None,
) -> ASGIApp:
    """The console of one home, behind its gate.

    Parameters
    ----------
    transport
        By which the provider of a single sign-on is asked; None is the network.

    Raises
    ------
    ConfigError
        There is to be a single sign-on, and what it needs is not here.
    """
    desk = Desk(
        coordinator.passwords, coordinator.sign_ins, SecondStep(coordinator.second_factors), clock=clock
    )
    doors = _Doors(desk, elsewhere=single_sign_on.label if single_sign_on else None)
    federation = FederationPages(home, coordinator, control=control, desk=desk)
    runs = RunPages(coordinator, control=control, desk=desk)
    app = Starlette(
        routes=[
            Route("/health", _health, methods=["GET"]),
            Route("/static/{name}", static_file, methods=["GET"]),
            Route("/sign-in", doors.show, methods=["GET"]),
            Route("/sign-in", doors.sign_in, methods=["POST"]),
            Route("/sign-out", doors.sign_out, methods=["POST"]),
            *_elsewhere(home, coordinator, desk, single_sign_on, clock=clock, transport=transport),
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


def _elsewhere(
    home: CoordinatorHome,
    coordinator: Coordinator,
    desk: Desk,
    settings: SingleSignOnSettings | None,
    *,
    clock: Callable[[], float],
    transport: httpx.BaseTransport | None,
) -> list[Route]:
    """Signing in by way of a provider, if there is one."""
    if settings is None:
        return []
    try:
        from server.console.provider import Provider
        from server.console.single_sign_on import SingleSignOnPages
    except ImportError as error:
        raise ConfigError(
            "What [single_sign_on] needs is not installed.", "Install `mammofed[server,single-sign-on]`."
        ) from error
    provider = Provider(settings, home.folder, transport=transport)
    return SingleSignOnPages(provider, identities=coordinator.identities, desk=desk, clock=clock).routes()


class _Doors:
    """Signing in and out; `elsewhere` is what the way by a provider is called, None where there is none."""

    def __init__(self, desk: Desk, *, elsewhere: str | None) -> None:
        self._desk = desk
        self._elsewhere = elsewhere

    def show(self, request: Request) -> Response:
        to = own_path(request.query_params.get("to", ""))
        if request.state.actor is not None:
            return RedirectResponse(to, status_code=303)
        return page(request, "sign_in.html.j2", to=to, name="", error=None, elsewhere=self._elsewhere)

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
            return page(
                request,
                "sign_in.html.j2",
                status=403,
                to=to,
                name=name,
                error=error,
                elsewhere=self._elsewhere,
            )
        answer = RedirectResponse(to, status_code=303)
        answer.set_cookie(COOKIE, key, path="/", secure=True, httponly=True, samesite="strict")
        return answer

    def sign_out(self, request: Request) -> Response:
        self._desk.sign_out(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/sign-in", status_code=303)
        answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
        return answer


def _health(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _tell(_request: Request, error: Exception) -> Response:
    assert isinstance(error, MammofedError)
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    return error_page(status, error.message, error.hint)


def _not_found(_request: Request, _error: Exception) -> Response:
    return error_page(404, "There is no such page.", "Begin at the federation.")
