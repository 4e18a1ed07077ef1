"""The pages of the runs: all of them, one of them as it goes on, and one round's receipt."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Hashable, Mapping
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from server.console.charts import charts_of
from server.console.desk import Desk
from server.console.gate import acting
from server.console.live import follow
from server.console.pages import fragment, page, viewer
from server.console.reading import Reading, read
from server.coordinator import Coordinator
from server.lifecycle import RunState
from server.measure_tables import EXPLANATION, measure_tables
from server.members import Contact
from server.store import Run
from server.submission import extend
from server.summary import last_parts
from shared.errors import ConfigError, NotFoundError
from shared.evaluation.measures import MEASURES, PER_ROUND
from shared.persons.roles import Action
from shared.plan import Plan
from shared.records import Phase

MOST_ROUNDS_SHOWN = 12
MOST_ROUNDS = 10_000
MOST_RUNS_KEPT = 4
PARTS = (
    "state",
    "actions",
    "approvals",
    "progress",
    "timeline",
    "sites",
    "agreement",
    "rounds",
    "rejections",
    "test",
    "curves",
)
"""Sections of a run's page that follow it; each is a template, and the content of the element of its name."""

_MEASURES = [(name, MEASURES[name]) for name in PER_ROUND]


class RunControl(Protocol):
    """What is asked of the SuperLink; `server.flower.control` speaks Flower."""

    def contacts(self) -> Mapping[int, Contact]:
        """By node id; empty while nothing is known."""
        ...

    def require_running(self) -> None:
        """Pass if it answers. Raises UnreachableError."""
        ...


class RunPages:
    """Shows runs, and stops, resumes and extends them.

    Parameters
    ----------
    desk
        Says for how long a page may follow what happens.
    """

    def __init__(self, coordinator: Coordinator, *, control: RunControl, desk: Desk) -> None:
        self._coordinator = coordinator
        self._control = control
        self._desk = desk
        self._read: dict[str, tuple[Hashable, Reading]] = {}
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        """Where they answer."""
        return [
            Route("/runs", self.list, methods=["GET"]),
            Route("/runs/{run_id}", self.show, methods=["GET"]),
            Route("/runs/{run_id}/live", self.live, methods=["GET"]),
            Route("/runs/{run_id}/rounds/{number:int}", self.receipt, methods=["GET"]),
            Route("/runs/{run_id}/stop", self.stop, methods=["POST"]),
            Route("/runs/{run_id}/resume", self.resume, methods=["POST"]),
            Route("/runs/{run_id}/extend", self.extend, methods=["POST"]),
        ]

    def list(self, request: Request) -> Response:
        """Every run, the newest first."""
        acting(request, Action.SERVICE_SHOW)
        done = self._coordinator.outcomes.num_aggregated()
        models = {model.run_id: model.model_id for model in self._coordinator.models.all()}
        rows = [
            {
                "run": run,
                "num_rounds": Plan.from_toml(run.plan_toml).rounds.count,
                "num_finished": done.get(run.run_id, 0),
                "model_id": models.get(run.run_id),
            }
            for run in reversed(self._coordinator.runs.all())
        ]
        return page(request, "runs.html.j2", rows=rows)

    def show(self, request: Request) -> Response:
        """One run as it stands."""
        acting(request, Action.SERVICE_SHOW)
        return page(request, "run.html.j2", parts=PARTS, **self._facts(_run_id(request)))

    def live(self, request: Request) -> Response:
        """What changes on its page."""
        acting(request, Action.SERVICE_SHOW)
        run_id = _run_id(request)
        self._coordinator.runs.get(run_id)
        last: list[Hashable] = []

        def look() -> Mapping[str, str] | None:
            stamp = (self._stamp(run_id), *sorted(self._in_touch()), self._trouble())
            if last == [stamp]:
                return None
            last[:] = [stamp]
            facts = self._facts(run_id)
            return {part: fragment(f"run_{part}.html.j2", **viewer(request), **facts) for part in PARTS}

        return follow(request, self._desk, look)

    def receipt(self, request: Request) -> Response:
        """Who was asked in a round, who answered, who was counted, and why the others were not."""
        acting(request, Action.SERVICE_SHOW)
        run = self._coordinator.runs.get(_run_id(request))
        number, summary = request.path_params["number"], self._reading(run).summary
        found = next((one for one in summary.rounds if one.number == number), None)
        if found is None:
            raise NotFoundError("The run has no such round.", "Its page shows those that were opened.")
        return page(
            request,
            "receipt.html.j2",
            one=found,
            parts=last_parts(self._coordinator, run.run_id, Phase.TRAIN, number),
            run=run,
            plan=Plan.from_toml(run.plan_toml),
            summary=summary,
            in_touch=self._in_touch(),
            measures=_MEASURES,
        )

    def stop(self, request: Request) -> Response:
        """End a run; its finished rounds are kept."""
        actor, run_id = acting(request, Action.RUN_STOP), _run_id(request)
        self._coordinator.runs.stop(run_id, actor=actor.name, at=time.time())
        return _to_run(run_id)

    def resume(self, request: Request) -> Response:
        """Go on with a run that was stopped or has failed."""
        actor, run_id = acting(request, Action.RUN_START), _run_id(request)
        self._control.require_running()
        self._coordinator.runs.resume(run_id, actor=actor.name, at=time.time())
        return _to_run(run_id)

    def extend(self, request: Request) -> Response:
        """Go on from a finished run by further rounds, under a plan that the sites approve anew."""
        actor, form = acting(request, Action.RUN_START), request.state.form
        rounds = _number(form.get("rounds", ""))
        if not (rounds.is_integer() and 1 <= rounds <= MOST_ROUNDS):
            raise ConfigError("That is no number of further rounds.", f"Give 1 to {MOST_ROUNDS:,}.")
        learning_rate = form.get("learning_rate", "").strip()
        self._control.require_running()
        run = extend(
            self._coordinator,
            _run_id(request),
            num_rounds=int(rounds),
            learning_rate=_number(learning_rate) if learning_rate else None,
            actor=actor.name,
        )
        return _to_run(run.run_id)

    def _facts(self, run_id: str) -> dict[str, Any]:
        """All that the templates of a run name."""
        run = self._coordinator.runs.get(run_id)
        reading, plan = self._reading(run), Plan.from_toml(run.plan_toml)
        summary = reading.summary
        charts = charts_of(reading.drawn, plan, num_sites=reading.num_sites)
        return {
            "run": run,
            "plan": plan,
            "summary": summary,
            "trouble": "" if run.state.is_over else self._trouble(),
            "in_touch": self._in_touch(),
            "lanes": reading.lanes,
            "charts": charts,
            "curves": reading.curves,
            "agreement": reading.agreement,
            "agreement_of": reading.agreement_of,
            "turned_away": reading.turned_away,
            "best": next(chart.best for chart in charts if chart.name == "dice_dense"),
            "tables": measure_tables(summary.test) if summary.test.parts else [],
            "explanation": EXPLANATION,
            "measures": _MEASURES,
            "most_shown": MOST_ROUNDS_SHOWN,
            "may_resume": run.state in {RunState.STOPPED, RunState.FAILED},
        }

    def _reading(self, run: Run) -> Reading:
        """A run as it stands, read anew only after something has changed, however many look at it."""
        with self._lock:
            stamp = self._stamp(run.run_id)
            last = self._read.get(run.run_id)
            if last is not None and last[0] == stamp:
                return last[1]
            if len(self._read) >= MOST_RUNS_KEPT:
                self._read.clear()
            reading = read(run, self._coordinator)
            self._read[run.run_id] = (stamp, reading)
            return reading

    def _stamp(self, run_id: str) -> Hashable:
        sites = self._coordinator.federation.sites()
        return self._coordinator.outcomes.stamp(run_id), tuple((site.site_id, site.state) for site in sites)

    def _in_touch(self) -> frozenset[str]:
        """Names of the sites whose nodes answer."""
        online = {node_id for node_id, contact in self._control.contacts().items() if contact.is_online}
        active = self._coordinator.federation.active()
        return frozenset(site.name for site in active if site.node_id in online)

    def _trouble(self) -> str:
        return self._coordinator.clock.trouble()


def _run_id(request: Request) -> str:
    return str(request.path_params["run_id"])


def _to_run(run_id: str) -> Response:
    return RedirectResponse(f"/runs/{run_id}", status_code=303)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
