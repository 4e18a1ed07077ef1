"""The terminal shows what the console shows: hospitals, runs, receipts, plans; shells complete its words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text
from typer.testing import CliRunner

import shared.terminal
from server.cli import app
from server.flower.control import Control
from server.members import Contact
from shared.errors import NotFoundError, PlanError
from shared.plan import Plan, RoundsPlan
from shared.terminal import Output
from tests.unit.server.simulated_federation import RUN_ID, SimulatedFederation


def call(home: Path, *arguments: str, as_json: bool = True) -> Any:
    """What a command prints: its JSON, or its text. Raises the error that it would show."""
    line = [*arguments, "--home", str(home), *(["--json"] if as_json else [])]
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, line)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if as_json else done.stdout


@pytest.fixture
def home(federation: SimulatedFederation) -> Path:
    return federation.home.folder


def test_hospitals_are_listed_with_their_contact_examples_plans_and_certificate(
    federation: SimulatedFederation, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    contacts = {
        1: Contact(is_online=True, silent_since=None),
        2: Contact(is_online=False, silent_since=now - 7_200),
    }
    monkeypatch.setattr(Control, "contacts", lambda _self: contacts)
    call(home, "site", "invite", "oslo")

    aarhus, bergen, cork, oslo = call(home, "site", "list")
    assert (aarhus["online"], bergen["online"], cork["online"]) == (True, False, None)
    assert bergen["silent_since"] == now - 7_200
    assert aarhus["plans"] == {RUN_ID: "approved"}
    assert 29 * 86_400 < aarhus["certificate_ends_at"] - now < 31 * 86_400
    assert (oslo["name"], oslo["state"], oslo["site_id"]) == ("oslo", "invited", None)
    text = call(home, "site", "list", as_json=False)
    for words in ("answers", "silent since", "unknown", "invited", "29 days"):
        assert words in text


def test_examples_and_rounds_are_shown_once_there_are_any(
    federation: SimulatedFederation, home: Path
) -> None:
    federation.run()

    assert [row["examples"] for row in call(home, "site", "list")] == [10, 30, 60]
    (row,) = call(home, "run", "list")
    assert row["rounds"] == "2 of 2"


def test_a_round_is_shown_with_what_became_of_each_hospital(
    federation: SimulatedFederation, home: Path
) -> None:
    federation.run()

    shown = call(home, "run", "show", RUN_ID, "--round", "2")
    assert [one["number"] for one in shown["rounds"]] == [2]
    assert {part["site"] for part in shown["rounds"][0]["parts"]} == {"aarhus", "bergen", "cork"}
    text = call(home, "run", "show", RUN_ID, "--round", "2", as_json=False)
    assert all(name in text for name in ("aarhus", "bergen", "cork", "admitted"))
    with pytest.raises(NotFoundError, match="no such round"):
        call(home, "run", "show", RUN_ID, "--round", "3")


def test_a_run_that_is_over_is_not_watched_for_ever(federation: SimulatedFederation, home: Path) -> None:
    federation.run()

    assert call(home, "run", "show", RUN_ID, "--watch")["state"] == "finished"


def test_a_watched_thing_is_told_again_when_it_has_changed_and_only_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shared.terminal, "WATCH_EVERY_S", 0.0)
    values = iter([1, 1, 2, 2, 3])

    def read() -> tuple[int, Text]:
        value = next(values)
        return value, Text(str(value))

    Output(True).show(read, watch=True, is_over=lambda value: value == 3)

    assert capsys.readouterr().out.split() == ["1", "2", "3"]


def test_a_watch_ends_quietly_by_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    def read_once() -> Callable[[], tuple[int, Text]]:
        done = iter([(1, Text("1"))])

        def read() -> tuple[int, Text]:
            for each in done:
                return each
            raise KeyboardInterrupt

        return read

    Output(True).show(read_once(), watch=True)

    assert capsys.readouterr().out == "1\n"


class TestPlans:
    def test_a_new_plan_has_every_setting_and_is_one(self, home: Path) -> None:
        text = call(home, "plan", "new", "spring", "--rounds", "7", as_json=False)

        assert Plan.from_toml(text) == Plan(name="spring", rounds=RoundsPlan(count=7))
        for arguments in (("Spring Run", "--rounds", "7"), ("spring",)):
            with pytest.raises(PlanError):
                call(home, "plan", "new", *arguments)

    def test_a_plan_like_that_of_a_run_differs_in_its_name_alone(
        self, federation: SimulatedFederation, home: Path
    ) -> None:
        text = call(home, "plan", "new", "spring", "--like", RUN_ID)["plan_toml"]

        assert Plan.from_toml(text) == federation.plan.model_copy(update={"name": "spring"})
        assert call(home, "plan", "show", RUN_ID)["plan_toml"] == federation.plan.to_toml()

    def test_a_plan_is_looked_through_with_what_it_will_cost(
        self, federation: SimulatedFederation, home: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "plan.toml"
        file.write_text(federation.plan.to_toml())
        checked = call(home, "plan", "check", str(file))
        assert (checked["plan_sha256"], checked["num_sites"], checked["seconds"]) == (
            federation.plan.sha256,
            3,
            None,
        )

        federation.run()
        checked = call(home, "plan", "check", str(file))
        assert checked["by_run"] == RUN_ID
        assert checked["seconds"] > 0
        assert checked["down_bytes"] > checked["up_bytes"] > 0
        file.write_text('name = "spring"\nrounds = 3')
        with pytest.raises(PlanError):
            call(home, "plan", "check", str(file))


@pytest.mark.parametrize(
    ("program", "begun", "word"),
    [("mammofed-coordinator", "aler", "alerts"), ("mammofed-site", "polic", "policy")],
)
def test_a_shell_completes_commands(program: str, begun: str, word: str) -> None:
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    asked = {variable: "complete_bash", "COMP_WORDS": f"{program} {begun}", "COMP_CWORD": "1"}
    done = subprocess.run(
        [str(Path(sys.executable).with_name(program))],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split() == [word]
