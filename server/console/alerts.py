"""The page of the alerts: what somebody must still see to, what is over, and who has seen it."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from server.console.gate import acting
from server.console.pages import page
from server.coordinator import Coordinator
from shared.persons.roles import Action

PLACE = "/alerts"
MOST_PAST_SHOWN = 100


class AlertPages:
    """Shows alerts, and notes that a person has seen one."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._alerts = coordinator.alerts

    def routes(self) -> list[Route]:
        """Where they answer."""
        return [
            Route(PLACE, self.show, methods=["GET"]),
            Route(PLACE + "/{number:int}/acknowledge", self.acknowledge, methods=["POST"]),
        ]

    def show(self, request: Request) -> Response:
        """Those that are open, then the last of the others."""
        acting(request, Action.SERVICE_SHOW)
        opened = self._alerts.open()
        past = [each for each in self._alerts.all(most=MOST_PAST_SHOWN) if not each.is_open]
        return page(request, "alerts.html.j2", opened=opened, past=past)

    def acknowledge(self, request: Request) -> Response:
        """A person has seen it."""
        actor = acting(request, Action.ALERT_MANAGE)
        self._alerts.acknowledge(request.path_params["number"], actor=actor.name, at=time.time())
        return RedirectResponse(PLACE, status_code=303)
