"""The page of whoever is signed in: another password, and a second factor."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from server.console import second_factor
from server.console.desk import Desk
from server.console.gate import acting
from server.console.pages import page
from server.console.passwords import encode
from server.console.second_step import SecondStep
from server.coordinator import Coordinator
from shared.errors import ConfigError, TrustError
from shared.persons.roles import Action

PLACE = "/account"


class AccountPages:
    """Changes what a person signs in by; each change asks for the password and, if one is due, a code.

    Parameters
    ----------
    clock
        Seconds since the Unix epoch.
    """

    def __init__(self, coordinator: Coordinator, *, desk: Desk, clock: Callable[[], float]) -> None:
        self._passwords = coordinator.passwords
        self._factors = coordinator.second_factors
        self._second = SecondStep(coordinator.second_factors)
        self._federation = coordinator.name
        self._desk = desk
        self._clock = clock

    def routes(self) -> list[Route]:
        """Where they answer."""
        return [
            Route(PLACE, self.show, methods=["GET"]),
            Route(PLACE + "/password", self.set_password, methods=["POST"]),
            Route(PLACE + "/second-factor", self.begin, methods=["POST"]),
            Route(PLACE + "/second-factor/confirm", self.confirm, methods=["POST"]),
            Route(PLACE + "/second-factor/remove", self.remove, methods=["POST"]),
        ]

    def show(self, request: Request) -> Response:
        """The page."""
        return page(request, "account.html.j2", factor=self._factors.of(_name(request)))

    def set_password(self, request: Request) -> Response:
        """Another password, in the place of the one before; whoever was signed in as them is signed out."""
        name, form = self._proven(request), request.state.form
        if form.get("new", "") != form.get("again", ""):
            raise ConfigError("The two new passwords differ.", "Type the same one twice.")
        encoded = encode(form.get("new", ""), name=name)
        self._passwords.set(name, encoded, actor=f"person:{name}", at=self._clock())
        return RedirectResponse("/sign-in", status_code=303)

    def begin(self, request: Request) -> Response:
        """Show what an authenticator takes; nothing is asked for until a code of it was shown."""
        name = self._proven(request)
        secret = second_factor.new_secret()
        self._factors.begin(name, secret, at=self._clock())
        address = second_factor.address_of(secret, name=name, federation=self._federation)
        picture = Markup(second_factor.picture_of(address))  # noqa: S704 - drawn by segno, of squares alone
        return page(request, "second_factor.html.j2", picture=picture, secret=secret)

    def confirm(self, request: Request) -> Response:
        """A code was shown: from now on one is asked for. The recovery codes are shown this once."""
        name = _name(request)
        codes = self._second.confirm(
            name, request.state.form.get("code", ""), actor=f"person:{name}", now=self._clock()
        )
        return page(request, "recovery_codes.html.j2", codes=codes)

    def remove(self, request: Request) -> Response:
        """Ask for none any more."""
        name = self._proven(request)
        self._factors.remove(name, actor=f"person:{name}", at=self._clock())
        return RedirectResponse("/sign-in", status_code=303)

    def _proven(self, request: Request) -> str:
        """The person's name, if the form proves that it is them and not somebody at their open browser."""
        name, form = _name(request), request.state.form
        self._desk.prove(
            name,
            form.get("password", ""),
            form.get("code", ""),
            address=request.client.host if request.client else "",
        )
        return name


def _name(request: Request) -> str:
    actor = acting(request, Action.SERVICE_SHOW)
    kind, _, name = actor.name.partition(":")
    if kind != "person":
        raise TrustError("Nobody is signed in.", "Sign in.")
    return name
