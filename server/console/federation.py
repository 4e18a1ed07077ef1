"""The page of the federation: a card for each hospital, and what an administrator does about them."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from server.console.desk import Desk
from server.console.gate import acting
from server.console.live import follow
from server.console.pages import days_left, fragment, page
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.joining import approve, invite
from server.lifecycle import SiteState
from server.members import Contact, Member, enrolled_members, waiting_members
from shared.errors import ConfigError
from shared.persons.roles import Action

LEAST_DAYS, MOST_DAYS = 1, 90
HOME = "/"


class Contacts(Protocol):
    """Who is in touch; `server.flower.control` knows it."""

    def contacts(self) -> Mapping[int, Contact]:
        """By node id; empty while nothing is known."""
        ...


class FederationPages:
    """Shows and changes who is in the federation.

    Parameters
    ----------
    desk
        Says for how long a page may follow what happens.
    """

    def __init__(
        self, home: CoordinatorHome, coordinator: Coordinator, *, control: Contacts, desk: Desk
    ) -> None:
        self._home = home
        self._coordinator = coordinator
        self._control = control
        self._desk = desk

    def routes(self) -> list[Route]:
        """Where they answer."""
        return [
            Route(HOME, self.show, methods=["GET"]),
            Route("/live", self.live, methods=["GET"]),
            Route("/sites/invite", self.invite, methods=["POST"]),
            Route("/sites/{name}/withdraw", self.withdraw, methods=["POST"]),
            Route("/sites/{name}/approve", self.approve, methods=["POST"]),
            Route("/sites/{name}/reject", self.reject, methods=["POST"]),
            Route("/sites/{name}/revoke", self.revoke, methods=["POST"]),
        ]

    def show(self, request: Request) -> Response:
        """The page."""
        acting(request, Action.SERVICE_SHOW)
        now = time.time()
        waiting, members = waiting_members(self._coordinator), self._members()
        names = {each.name for each in waiting}
        return page(
            request,
            "federation.html.j2",
            invited=[name for name in self._coordinator.federation.invited(now=now) if name not in names],
            waiting=waiting,
            members=members,
            in_touch=_in_touch(members),
            shape=_shape([*waiting, *members]),
            now=now,
            most_days=MOST_DAYS,
            revoking=request.query_params.get("revoke"),
        )

    def live(self, request: Request) -> Response:
        """What changes on it by itself."""
        acting(request, Action.SERVICE_SHOW)
        cards = Cards()

        def look() -> Mapping[str, str]:
            members = self._members()
            return {
                "in-touch": _in_touch(members),
                "shape": _shape([*waiting_members(self._coordinator), *members]),
                **cards.changed(members, now=time.time()),
            }

        return follow(request, self._desk, look)

    def invite(self, request: Request) -> Response:
        """Invite a hospital; its token is shown on this answer alone."""
        actor, form = acting(request, Action.SITE_MANAGE), request.state.form
        name = form.get("name", "").strip()
        invitation = invite(
            self._home,
            self._coordinator,
            name,
            days=_days(form.get("days", "")),
            by_hand="by_hand" in form,
            now=time.time(),
            actor=actor.name,
        )
        return page(
            request,
            "invitation.html.j2",
            name=name,
            token=invitation.token.reveal(),
            expires_at=invitation.expires_at,
            by_hand="by_hand" in form,
        )

    def withdraw(self, request: Request) -> Response:
        """Take invitations back."""
        actor = acting(request, Action.SITE_MANAGE)
        name = request.path_params["name"]
        self._coordinator.federation.withdraw(name, now=time.time(), actor=actor.name)
        return RedirectResponse(HOME, status_code=303)

    def approve(self, request: Request) -> Response:
        """Let a hospital in that waits, with the keys whose fingerprint was on the page."""
        actor, form = acting(request, Action.SITE_MANAGE), request.state.form
        if "compared" not in form:
            raise ConfigError(
                "The fingerprint was not compared.",
                "Have the hospital read it out, then say that it is the same.",
            )
        approve(
            self._home,
            self._coordinator,
            request.path_params["name"],
            fingerprint=form.get("fingerprint", ""),
            now=time.time(),
            actor=actor.name,
        )
        return RedirectResponse(HOME, status_code=303)

    def reject(self, request: Request) -> Response:
        """Send a hospital away that waits."""
        actor = acting(request, Action.SITE_MANAGE)
        name = request.path_params["name"]
        self._coordinator.applications.reject(name, now=time.time(), actor=actor.name)
        return RedirectResponse(HOME, status_code=303)

    def revoke(self, request: Request) -> Response:
        """End a membership."""
        actor, form = acting(request, Action.SITE_MANAGE), request.state.form
        name, reason = request.path_params["name"], form.get("reason", "").strip()
        self._coordinator.memberships.revoke(name, reason=reason or None, now=time.time(), actor=actor.name)
        return RedirectResponse(HOME, status_code=303)

    def _members(self) -> list[Member]:
        return enrolled_members(self._coordinator, self._control.contacts())


class Cards:
    """The cards that one page has, each rendered again only when what it shows has changed."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[Member, str]] = {}

    def changed(self, members: Sequence[Member], *, now: float) -> Mapping[str, str]:
        """Those that differ from the last call, by the ids of their elements."""
        found = {}
        for each in members:
            stamp = each, days_left(each.certificate_ends_at or now, now)
            if self._shown.get(each.site_id) != stamp:
                self._shown[each.site_id] = stamp
                found[f"facts-{each.site_id}"] = fragment("site_facts.html.j2", site=each, now=now)
        return found


def _in_touch(members: list[Member]) -> str:
    active = [each for each in members if each.state is SiteState.ACTIVE]
    online = sum(each.contact is not None and each.contact.is_online for each in active)
    return f"{online} of {len(active)} hospitals in touch"


def _shape(members: list[Member]) -> str:
    """Changes when there are other cards than before, which a page cannot follow by its parts."""
    cards = "\n".join(f"{each.name} {each.site_id} {each.state.value}" for each in members)
    return hashlib.sha256(cards.encode()).hexdigest()[:16]


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not LEAST_DAYS <= days <= MOST_DAYS:
        raise ConfigError(
            "That is no number of days that an invitation may be valid.", f"Give {LEAST_DAYS} to {MOST_DAYS}."
        )
    return days
