"""The main job in a real browser: a hospital is invited, a run started, watched, stopped and resumed, and two
release its model, which is downloaded and verified.

A picture of each page that was come by, as a phone, a desktop and a wall show it, is left in `build/screens`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.demo.federation import Role, site, wait_until
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from shared.persons.token import VARIABLE
from tests.e2e.small_federation import (
    POLICY,
    VENDORS,
    SmallFederation,
    build,
    halted,
    join,
    processes_of,
    running,
    shared_hospitals,
)
from tests.integration.browsing import a_browser, opened, sign_in
from tests.integration.running_console import PASSWORD, RunningConsole

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

SCREENS = Path("build/screens")
INVITED = VICTIM = "hospital-north"
STANDING = "hospital-lake"
TELLING = f'{POLICY}egress.readiness = "told"\n'
SIZES = {
    "phone": {"width": 390, "height": 844},
    "wall": {"width": 3840, "height": 2160},
    "desktop": {"width": 1280, "height": 800},
}
"""Of screens; the last one is gone on with."""

RUNNER = "server.flower.runner"
ROUNDS, WATCHED = 8, 3
PATIENCE_MS = 300_000
"""Sites start, train and are missed within seconds; other tests share this machine."""

CHILD_GRACE_S = 10.0
PLAN = {
    "Rounds": str(ROUNDS),
    "Quorum": "2",
    "Local epochs": "12",
    "Batch size": "2",
    "Learning rate": "0.005",
}
"""So many epochs that a hospital can be killed amid a round."""

FITS = """() => document.documentElement.scrollWidth <= innerWidth
  && [...document.querySelectorAll(".chart .uplot")].every(
    (drawn) => Math.abs(drawn.offsetWidth - drawn.parentElement.clientWidth) < 2)"""
"""Nothing is wider than the screen, and every chart has the width of its place."""

NETWORK = {"Height of the input, in pixels": "128", "Width of the input, in pixels": "64"}


@pytest.fixture
def federation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallFederation]:
    """One of its own: in the shared one nobody has an account, and its commands ask for none.

    One hospital is not invited yet.
    """
    factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    hospitals = shared_hospitals(request.config, factory)
    with running(build(tmp_path, [each for each in hospitals if each.name != INVITED])) as federation:
        federation.sites[INVITED] = site(tmp_path / f"site-{INVITED}")
        federation.hospitals.append(next(each for each in hospitals if each.name == INVITED))
        yield federation


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with a_browser() as browser:
        yield browser


def add_person(role: Role, name: str, *, token: str) -> str:
    """An administrator with a password for the console, added by whoever has the token; returns their own."""
    acting = Role(command=role.command, home=role.home, environment={VARIABLE: token} if token else {})
    own: str = acting.ask("user", "add", name, "--role", "administrator")["token"]
    subprocess.run(
        [Path(sys.executable).with_name(role.command), "user", "password", "--home", role.home],
        env={**os.environ, VARIABLE: own},
        input=f"{PASSWORD}\n",
        text=True,
        capture_output=True,
        check=True,
    )
    return own


def seat(browser: Browser, console: RunningConsole, name: str) -> tuple[Page, list[str]]:
    """A person, signed in, and what their browser complains of."""
    page, complaints = opened(browser, console, scheme="light", width=1280)
    page.set_default_timeout(PATIENCE_MS)
    sign_in(page, name)
    return page, complaints


def picture(page: Page, name: str) -> None:
    """On every screen; charts fit themselves into theirs a moment after it has changed."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    for words, size in SIZES.items():
        page.set_viewport_size(size)
        page.wait_for_function(FITS)
        page.screenshot(path=SCREENS / f"job-{name}-{words}.png", full_page=True)


def invite(page: Page, federation: SmallFederation) -> None:
    """By the form, with a comparison of fingerprints; the hospital joins, adds its data and starts."""
    page.get_by_label("Name").fill(INVITED)
    page.get_by_role("button", name="Invite").click()
    token = page.get_by_label("Invitation token").input_value()
    picture(page, "invitation")
    page.get_by_role("link", name="To the federation").click()
    hospital, role = federation.hospitals[-1], federation.sites[INVITED]
    with ThreadPoolExecutor(1) as pool:
        joining = pool.submit(join, role, hospital, token, policy=TELLING)
        page.get_by_label("The hospital has read out the very same").check()
        picture(page, "waiting")
        page.get_by_role("button", name=f"Let {INVITED} in").click()
        joining.result()


def start_run(page: Page) -> str:
    """By the form; returns the run's id."""
    page.get_by_role("link", name="Runs", exact=True).click()
    page.get_by_role("link", name="New run").click()
    page.get_by_label("Name", exact=True).fill("console-job")
    page.get_by_label("Size of the network").select_option("tiny")
    for label, value in PLAN.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_text("Network and its input").click()
    for label, value in NETWORK.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_text("What the coordinator sees of a hospital").click()
    page.get_by_label("Secure aggregation").select_option("off")  # per-site lines are to be seen
    page.get_by_text("No earlier run has trained this network").wait_for()  # the form was found whole
    picture(page, "new-run")
    page.get_by_role("button", name="Ask the hospitals").click()
    page.wait_for_url(re.compile(r"/runs/(?!new)"))
    return page.url.rpartition("/")[2]


def lane(page: Page, hospital: str) -> Locator:
    return page.locator("#sites tr").filter(has=page.get_by_role("rowheader", name=hospital))


def card(page: Page, hospital: str) -> Locator:
    return page.get_by_role("region", name=hospital)


def release(page: Page, model_id: str) -> None:
    page.get_by_role("link", name="Models", exact=True).click()
    page.get_by_role("link", name=model_id).first.click()
    page.get_by_text("Release for the clinic").click()
    page.get_by_role("button", name=f"Release {model_id}").click()
    page.get_by_role("heading", name=model_id, level=1).wait_for()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hospital_is_invited_a_run_started_watched_stopped_resumed_and_its_model_released_in_a_browser(
    federation: SmallFederation, chromium: Browser, tmp_path: Path
) -> None:
    token = add_person(federation.coordinator, "ada", token="")
    add_person(federation.coordinator, "bob", token=token)
    home = CoordinatorHome(federation.coordinator.home)
    console = RunningConsole(home, Coordinator.open(home))
    ada, complaints = seat(chromium, console, "ada")
    invite(ada, federation)
    overview, _ = seat(chromium, console, "ada")
    overview.get_by_text(f"{len(VENDORS)} of {len(VENDORS)} hospitals in touch").wait_for()
    card(overview, INVITED).get_by_text("2 to train on, 2 to choose by, 2 to test on").wait_for()
    assert "egress.readiness" in card(overview, STANDING).inner_text()
    picture(overview, "federation")

    run_id = start_run(ada)
    ada.evaluate("window.isSamePage = true")
    for number in range(1, WATCHED + 1):
        ada.get_by_title(f"Round {number}: aggregated").wait_for()
    picture(ada, "run")
    assert ada.evaluate("window.isSamePage")

    ada.get_by_text("Stop the run").first.click()
    ada.get_by_role("button", name="Stop the run").click()
    go_on = ada.get_by_role("button", name=re.compile(r"Go on after round \d+"))
    go_on.wait_for()
    ada.get_by_text(
        re.compile(r"Of the weights that round \d+ began with")
    ).wait_for()  # nothing told is lost
    picture(ada, "stopped")
    finished = int(go_on.inner_text().split()[-1])
    assert finished >= WATCHED
    go_on.click()
    ada.get_by_title(f"Round {finished + 1}: open").wait_for()
    ada.evaluate("window.isSamePage = true")

    victim = federation.sites[VICTIM]
    federation.wait_for_step(VICTIM, run_id, round_number=finished + 1, step=2)
    victim.kill()
    wait_until(lambda: not processes_of(victim.home), CHILD_GRACE_S, "the end of the site's children")
    with halted(federation.coordinator, RUNNER):  # the round must not be over before the site is back
        lane(ada, VICTIM).get_by_text("out of touch").wait_for()
        card(overview, VICTIM).get_by_text("out of touch").wait_for()
        picture(ada, "lane-out-of-touch")
        picture(overview, "card-out-of-touch")
        victim.start()
        card(overview, VICTIM).get_by_text("in touch", exact=True).wait_for()
        picture(overview, "card-back")
    lane(ada, VICTIM).get_by_text("counted").first.wait_for()
    ada.get_by_title(f"Round {ROUNDS}: aggregated").wait_for()
    published = ada.get_by_role("link", name=re.compile("published as"))
    published.wait_for()
    picture(ada, "finished")
    overview.goto(f"{ada.url}/rounds/{finished + 1}")
    picture(overview, "receipt")
    for name in ("Runs", "Alerts", "Audit"):
        overview.get_by_role("link", name=name, exact=True).click()
        overview.get_by_role("heading", name=name, level=1).wait_for()
        picture(overview, name.lower())
    assert ada.evaluate("window.isSamePage")
    model_id = published.inner_text().split()[-1]

    bob, more_complaints = seat(chromium, console, "bob")
    release(ada, model_id)
    ada.get_by_text("waits for a second administrator").wait_for()
    picture(ada, "asked-for-release")
    release(bob, model_id)
    bob.get_by_text("released", exact=True).first.wait_for()
    picture(bob, "released")
    bob.get_by_role("link", name="Models", exact=True).click()
    picture(bob, "models")
    bob.get_by_role("link", name=model_id).first.click()
    with bob.expect_download() as downloading:
        bob.get_by_role("button", name="Download the signed package").click()
    downloading.value.save_as(tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as packed:
        packed.extractall(tmp_path / "unpacked")
    verified = federation.coordinator.ask("model", "verify", str(tmp_path / "unpacked" / model_id))

    assert (verified["model_id"], verified["verified"]) == (model_id, True)
    assert complaints + more_complaints == []
    shown = federation.coordinator.ask("run", "show", run_id)
    assert [one["number"] for one in shown["rounds"] if one["state"] == "aggregated"] == [
        *range(1, ROUNDS + 1)
    ]
    assert {part["site"]: part["state"] for part in shown["rounds"][-1]["parts"]} == dict.fromkeys(
        VENDORS, "admitted"
    )
