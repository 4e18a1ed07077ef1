"""Signing in by way of a provider: there, and back again.

Back again, the browser must be the one that went: it brings a key in a cookie, under which what was begun is
kept here, for ten minutes and for one answer. Being `SameSite=Lax`, it is sent along with the provider's
answer. The sign-in's own is `Strict`, and so the last step is a page of this console's own that leads on.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from server.console.attempts import Attempts
from server.console.desk import Desk, NotLetInError
from server.console.gate import BACK, COOKIE, ELSEWHERE
from server.console.pages import own_path, page
from server.console.provider import Begun, Provider
from server.store.identities import Identities
from shared.errors import TrustError, UnreachableError

GOING = "__Host-mammofed-going"
GOING_S = 600.0
MOST_GOING = 1000
TRIES_OF_ADDRESS = 20
QUARTER_S = 900.0
KEY_BYTES = 32


class SingleSignOnPages:
    """Lets persons in for whom a provider vouches, and who are bound to what it says.

    Parameters
    ----------
    clock
        Seconds since the Unix epoch.
    """

    def __init__(
        self, provider: Provider, *, identities: Identities, desk: Desk, clock: Callable[[], float]
    ) -> None:
        self._provider = provider
        self._identities = identities
        self._desk = desk
        self._clock = clock
        self._going = Going()
        self._of_address = Attempts(TRIES_OF_ADDRESS, QUARTER_S)

    def routes(self) -> list[Route]:
        """Where they answer."""
        return [
            Route(ELSEWHERE, self.go, methods=["GET"]),
            Route(BACK, self.back, methods=["GET"]),
        ]

    def go(self, request: Request) -> Response:
        """Send a browser to the provider."""
        to = own_path(request.query_params.get("to", ""))
        now = self._clock()
        if not self._of_address.take(request.client.host if request.client else "", now=now):
            many = NotLetInError("There were too many tries.", f"Try again in {QUARTER_S / 60:.0f} minutes.")
            return self._refusal(request, many, to)
        try:
            begun = self._provider.begin(f"https://{request.headers['host']}{BACK}")
        except UnreachableError as error:
            return self._refusal(request, error, to)
        key = secrets.token_urlsafe(KEY_BYTES)
        self._going.keep(key, begun, to, now=now)
        answer = RedirectResponse(begun.address, status_code=303)
        answer.set_cookie(
            GOING, key, max_age=int(GOING_S), path="/", secure=True, httponly=True, samesite="lax"
        )
        return answer

    def back(self, request: Request) -> Response:
        """Let in whom the provider's answer vouches for."""
        begun, to = self._going.take(request.cookies.get(GOING, ""), now=self._clock())
        try:
            key = self._sign_in(request, begun)
        except (NotLetInError, UnreachableError, TrustError) as error:
            if begun is not None:  # of those that were not begun here anybody can send many
                self._desk.note_refusal("single-sign-on")
            answer = self._refusal(request, error, to)
        else:
            answer = page(request, "signed_in.html.j2", to=to)
            answer.set_cookie(COOKIE, key, path="/", secure=True, httponly=True, samesite="strict")
        answer.delete_cookie(GOING, path="/", secure=True, httponly=True, samesite="lax")
        return answer

    def _sign_in(self, request: Request, begun: Begun | None) -> str:
        if begun is None:
            raise NotLetInError(
                "This sign-in was not begun in this browser, or is over.", "Begin with it anew."
            )
        vouched = self._provider.finish(begun, dict(request.query_params), now=self._clock())
        name = self._identities.whose(
            vouched.issuer, subject=vouched.subject, verified_email=vouched.verified_email
        )
        if name is None:
            raise NotLetInError(
                f"Nobody here is known by that account, whose subject there is {vouched.subject}.",
                "Bind it under your own token: `mammofed-coordinator user single-sign-on --subject ...`.",
            )
        return self._desk.let_in(name, brought=request.cookies.get(COOKIE, ""))

    def _refusal(self, request: Request, error: TrustError | UnreachableError, to: str) -> Response:
        return page(
            request,
            "sign_in.html.j2",
            status=403,
            to=to,
            name="",
            error=error,
            elsewhere=self._provider.label,
        )


class Going:
    """Sign-ins that were begun and have not come back, in this process's memory."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Begun, str, float]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, key: str, begun: Begun, to: str, *, now: float) -> None:
        """Keep one, for a way to go on to; of too many the oldest is forgotten."""
        with self._lock:
            self._kept[_hash(key)] = begun, to, now
            while len(self._kept) > MOST_GOING:
                self._kept.popitem(last=False)

    def take(self, key: str, *, now: float) -> tuple[Begun | None, str]:
        """Take one out, with the way to go on to; None if there is none, any more."""
        with self._lock:
            begun, to, at = self._kept.pop(_hash(key), (None, "/", now))
        return (begun, to) if now - at <= GOING_S else (None, to)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
