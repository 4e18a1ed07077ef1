"""The page of a new run: a form over the plan, checked as it is filled in, with what it will cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from server.console.gate import acting
from server.console.pages import fragment, page
from server.console.plan_form import Checked, check, groups, values_of
from server.console.runs import RunControl
from server.coordinator import Coordinator
from server.estimate import estimate, past_rounds
from server.members import enrolled_members
from server.submission import submit, with_privacy_settled
from shared.errors import PlanError
from shared.persons.roles import Action
from shared.plan import Plan

PLACE = "/runs/new"
UNPROCESSABLE = 422


class NewRunPages:
    """Shows the form, checks it and starts what it says."""

    def __init__(self, coordinator: Coordinator, *, control: RunControl) -> None:
        self._coordinator = coordinator
        self._control = control

    def routes(self) -> list[Route]:
        """Where they answer."""
        return [
            Route(PLACE, self.show, methods=["GET"]),
            Route(PLACE, self.start, methods=["POST"]),
            Route(f"{PLACE}/check", self.check, methods=["POST"]),
            Route(f"{PLACE}/plan.toml", self.save, methods=["POST"]),
        ]

    def show(self, request: Request) -> Response:
        """The form with every default, or as a past run was planned."""
        acting(request, Action.RUN_START)
        parent = request.query_params.get("from", "")
        plan = Plan.from_toml(self._coordinator.runs.get(parent).plan_toml) if parent else None
        return self._page(request, {**values_of(plan), "parent": parent}, faults={})

    def check(self, request: Request) -> Response:
        """What is wrong with a form as it is filled in, by the names of settings, and what it will cost."""
        acting(request, Action.RUN_START)
        checked = self._checked(request.state.form)
        return JSONResponse(
            {"faults": dict(checked.faults), "cost": fragment("new_run_cost.html.j2", **self._cost(checked))}
        )

    def save(self, request: Request) -> Response:
        """The plan as a file for `run start`."""
        acting(request, Action.RUN_START)
        checked = self._checked(request.state.form)
        if checked.plan is None:
            return self._page(request, request.state.form, faults=checked.faults)
        return Response(
            checked.plan.to_toml(),
            media_type="application/toml",
            headers={"content-disposition": f'attachment; filename="{checked.plan.name}.toml"'},
        )

    def start(self, request: Request) -> Response:
        """Show the plan to the hospitals; the run begins when enough of them approve."""
        actor, form = acting(request, Action.RUN_START), request.state.form
        checked = self._checked(form)
        if checked.plan is None:
            return self._page(request, form, faults=checked.faults)
        self._control.require_running()
        try:
            run = submit(self._coordinator, checked.plan, actor=actor.name)
        except PlanError as error:
            return self._page(request, form, faults={"": f"{error.message} {error.hint}"})
        return RedirectResponse(f"/runs/{run.run_id}", status_code=303)

    def _checked(self, form: Mapping[str, str]) -> Checked:
        parent = form.get("parent", "")
        return check(form, parent=self._coordinator.runs.get(parent).plan_sha256 if parent else None)

    def _cost(self, checked: Checked) -> dict[str, Any]:
        num_sites, plan = len(self._coordinator.federation.active()), checked.plan
        past = past_rounds(plan, self._coordinator) if plan else None
        return {
            "num_sites": num_sites,
            "plan": plan,
            "estimate": estimate(plan, past, num_sites=num_sites) if plan and past else None,
            "masked": _as_masked(plan, num_sites) if plan else None,
        }

    def _page(self, request: Request, values: Mapping[str, str], *, faults: Mapping[str, str]) -> Response:
        return page(
            request,
            "new_run.html.j2",
            status=UNPROCESSABLE if faults else 200,
            groups=groups(),
            values=values,
            faults=faults,
            parent=values.get("parent", ""),
            runs=list(reversed(self._coordinator.runs.all())),
            members=[
                each
                for each in enrolled_members(self._coordinator, self._control.contacts())
                if each.state.value == "active"
            ],
            decisions=self._coordinator.consents.last_decisions(),
            **self._cost(self._checked(values)),
        )


def _as_masked(plan: Plan, num_sites: int) -> Plan | None:
    """The plan as it would be started, if updates are masked under it and its promise can be kept."""
    try:
        settled = with_privacy_settled(plan, num_sites=num_sites)
    except PlanError:  # said when the run is asked for
        return None
    return settled if settled.is_masked else None
