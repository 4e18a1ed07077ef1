"""Every page of the console under axe-core, on a desktop in light and on a phone in dark.

A picture of each page is left in `build/screens`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette

from server.console.app import make_app
from tests.integration.browsing import a_browser, opened, sign_in
from tests.integration.running_console import RunningConsole, running_console
from tests.unit.server.console.console import SimulatedSuperLink
from tests.unit.server.console.recorded_runs import finish_run, plan_of, record_run, submit_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SCREENS = Path("build/screens")
PAGES = {
    "/": "federation",
    "/runs": "runs",
    "/runs/new": "new-run",
    "/runs/{run_id}": "run",
    "/runs/{run_id}/rounds/{number:int}": "receipt",
    "/models": "models",
    "/models/{model_id}": "model",
    "/alerts": "alerts",
    "/audit": "audit",
    "/account": "account",
}
NO_PAGES = {
    "/health",
    "/sign-in",
    "/live",
    "/runs/{run_id}/live",
    "/static/{name}",
    "/audit/export",
    "/models/{model_id}/files/{name}",
}
EXAMPLES = {"{run_id}": "run-1", "{number:int}": "2", "{model_id}": "density-2"}
GRAVE = {"serious", "critical"}


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    with running_console(tmp_path_factory.mktemp("console") / "home") as running:
        for name in ("aarhus", "bergen", "cork"):
            running.enrol(name)
        record_run(running.coordinator, plan_of(5), done=3)
        finish_run(running.coordinator, plan_of(3), run_id="run-2")
        submit_run(running.coordinator, plan_of(5), "run-3")
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with a_browser() as browser:
        yield browser


def faults(page: Page) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:120] for node in each['nodes'][:3]]}"
        for each in found
        if each["impact"] in GRAVE
    ]


def filled_in(path: str, example: tuple[str, str]) -> str:
    return path.replace(*example)


def test_the_list_of_pages_is_whole(console: RunningConsole) -> None:
    app = make_app(console.home, console.coordinator, control=SimulatedSuperLink())._app
    assert isinstance(app, Starlette)

    shown = {route.path for route in app.routes if "GET" in route.methods}

    assert shown == PAGES.keys() | NO_PAGES


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_no_page_has_a_serious_fault_for_those_who_see_or_move_otherwise(
    console: RunningConsole, chromium: Browser, scheme: str, width: int
) -> None:
    SCREENS.mkdir(parents=True, exist_ok=True)
    page, _ = opened(chromium, console, scheme=scheme, width=width)
    found = {"sign-in": faults(page)}
    sign_in(page)
    for path, name in PAGES.items():
        page.goto(console.address + functools.reduce(filled_in, EXAMPLES.items(), path))
        page.screenshot(path=SCREENS / f"{name}-{scheme}-{width}.png", full_page=True)
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        found[name] = faults(page)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found[name].append("it is wider than the screen")

    assert {name: told for name, told in found.items() if told} == {}
