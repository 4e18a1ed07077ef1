"""`audit show`, `verify` and `export` at both command lines."""

from __future__ import annotations

import io
import json
import sqlite3
import time
from pathlib import Path

import pytest

from shared.audit.chain import Verified, verify_chain
from shared.audit.checkpoints import Contradiction
from shared.audit.events import RunFinished, RunRunning, RunSubmitted
from shared.audit.export import read_json_lines
from shared.errors import ConfigError, ContradictedError, HistoryError, HomeError, TamperedError
from shared.trust.keys import SigningKey
from tests.unit.shared.persons.sides import SideAtTerminal, sides

DATABASES = {"coordinator": "coordinator.db", "site": "site.db"}
HOUR_S = 3600


@pytest.fixture(params=["coordinator", "site"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> SideAtTerminal:
    side = next(each for each in sides(tmp_path) if each.role == request.param)
    log = side.open().log
    now = time.time()
    log.append(RunSubmitted(subject="run-1", plan_sha256="a" * 64), actor="local:ada", at=now - HOUR_S)
    log.append(RunRunning(subject="run-1"), actor="coordinator", at=now)
    log.append(RunFinished(subject="run-1"), actor="coordinator", at=now)
    return side


def altered(side: SideAtTerminal, statement: str) -> None:
    """Somebody who owns the file drops the triggers and changes the log."""
    connection = sqlite3.connect(side.home / DATABASES[side.role])
    with connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(statement)
    connection.close()


def names(side: SideAtTerminal, *arguments: str) -> list[str]:
    return [line["event"] for line in side.call("audit", "show", *arguments)]


def test_the_log_is_shown_by_time_event_and_number(side: SideAtTerminal) -> None:
    half_an_hour_ago = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() - HOUR_S / 2))

    assert names(side)[-3:] == ["run.submitted", "run.running", "run.finished"]
    assert names(side, "--event", "run") == ["run.submitted", "run.running", "run.finished"]
    assert names(side, "--event", "run.running") == ["run.running"]
    assert names(side, "--event", "ru") == []
    assert names(side, "--limit", "1") == ["run.finished"]
    assert names(side, "--event", "run", "--since", half_an_hour_ago) == ["run.running", "run.finished"]
    assert names(side, "--actor", "ada", "--subject", "run-1") == ["run.submitted"]
    assert names(side, "--words", "a" * 64) == ["run.submitted"]
    assert names(side, "--words", "run-1", "--until", half_an_hour_ago) == ["run.submitted"]
    assert "local:ada" in side.text("audit", "show")
    with pytest.raises(ConfigError, match="neither a day nor a time"):
        names(side, "--since", "yesterday")


@pytest.mark.parametrize(
    "arguments", [("audit", "show"), ("audit", "verify"), ("audit", "export"), ("ledger",)]
)
def test_a_mistyped_home_is_no_empty_log_that_holds(arguments: tuple[str, ...], tmp_path: Path) -> None:
    for role in ("coordinator", "site") if arguments[0] == "audit" else ("site",):
        mistyped = tmp_path / role / "typo"

        with pytest.raises(HomeError):
            SideAtTerminal(role, mistyped).text(*arguments)

        assert not mistyped.exists()


def test_an_untouched_log_holds(side: SideAtTerminal) -> None:
    found = side.call("audit", "verify")

    lines = list(side.open().log.lines())
    assert (found["holds"], found["lines"], found["head"]) == (True, len(lines), lines[-1].hash)


@pytest.mark.parametrize(
    ("statement", "flaw"),
    [
        ("UPDATE audit SET actor = 'local:eve' WHERE name = 'run.running'", "a line was altered"),
        ("DELETE FROM audit WHERE name = 'run.running'", "a line is missing or out of order"),
    ],
    ids=["altered", "removed"],
)
def test_the_first_line_that_was_altered_or_removed_is_named(
    statement: str, flaw: str, side: SideAtTerminal
) -> None:
    (at,) = (line.sequence for line in side.open().log.lines() if line.name == "run.running")
    altered(side, statement)

    with pytest.raises(HistoryError, match=f"line {at}: {flaw}"):
        side.call("audit", "verify")


def test_an_export_of_json_lines_is_verified_elsewhere(side: SideAtTerminal) -> None:
    exported = side.text("audit", "export")

    lines = list(read_json_lines(io.StringIO(exported)))
    assert lines == list(side.open().log.lines())
    assert isinstance(verify_chain(lines), Verified)


def test_an_export_for_a_log_collector_is_one_message_a_line(side: SideAtTerminal) -> None:
    exported = side.text("audit", "export", "--form", "syslog").splitlines()

    assert len(exported) == len(list(side.open().log.lines()))
    assert all(line.startswith("<109>1 ") for line in exported)
    assert f" {side.open().name} mammofed - run.finished " in exported[-1]


# -- the other side's log


def shown_to_the_other(tmp_path: Path) -> tuple[SideAtTerminal, SideAtTerminal, Path]:
    """A site whose log the coordinator has a checkpoint of, and a file for its export."""
    coordinator, site = sides(tmp_path)
    key = SigningKey.generate()
    log = site.open().log
    for number in range(3):
        log.append(RunRunning(subject=f"run-{number}"), actor="site-a", at=time.time())
    given = log.checkpoint(side="site-a", key=key, at=time.time())
    coordinator.open().log.keep_checkpoint(
        "site-a", given, key=key.verify_key, actor="coordinator", at=time.time()
    )
    log.append(RunFinished(subject="run-2"), actor="site-a", at=time.time())
    return coordinator, site, tmp_path / "site-a.jsonl"


def test_the_other_sides_log_passes_through_its_checkpoints(tmp_path: Path) -> None:
    coordinator, site, export = shown_to_the_other(tmp_path)
    export.write_text(site.text("audit", "export"))

    found = coordinator.call("audit", "verify", "--of", "site-a", "--log", str(export))

    assert found == {
        "of": "site-a",
        "holds": True,
        "lines": 4,
        "head": list(site.open().log.lines())[-1].hash,
        "checkpoints": 1,
        "contradictions": [],
    }


def test_a_history_that_was_rewritten_whole_after_it_was_shown_is_found(tmp_path: Path) -> None:
    coordinator, site, export = shown_to_the_other(tmp_path)
    rewritten = SideAtTerminal("site", tmp_path / "rewritten")
    for line in site.open().log.lines():
        subject = "run-9" if line.sequence == 2 else line.subject
        rewritten.open().log.append(RunRunning(subject=subject), actor=line.actor, at=line.at_ms / 1000)
    export.write_text(rewritten.text("audit", "export"))
    assert rewritten.call("audit", "verify")["holds"]

    with pytest.raises(HistoryError, match="line 3: the history is another than the one that was vouched"):
        coordinator.call("audit", "verify", "--of", "site-a", "--log", str(export))


def test_a_history_whose_end_was_cut_after_it_was_shown_is_found(tmp_path: Path) -> None:
    coordinator, site, export = shown_to_the_other(tmp_path)
    export.write_text("".join(site.text("audit", "export").splitlines(keepends=True)[:2]))

    with pytest.raises(HistoryError, match="line 3: the end of the history is missing"):
        coordinator.call("audit", "verify", "--of", "site-a", "--log", str(export))


def test_a_file_that_is_no_exported_log_is_not_verified(tmp_path: Path) -> None:
    coordinator, _, export = shown_to_the_other(tmp_path)
    export.write_text(json.dumps({"sequence": 1, "patient": "x"}) + "\n")

    with pytest.raises(TamperedError):
        coordinator.call("audit", "verify", "--of", "site-a", "--log", str(export))
    with pytest.raises(ConfigError, match="kept no checkpoint"):
        coordinator.call("audit", "verify", "--of", "site-b", "--log", str(export))
    with pytest.raises(ConfigError, match="cannot be read"):
        coordinator.call("audit", "verify", "--of", "site-a", "--log", str(tmp_path / "absent"))
    for alone in (("--of", "site-a"), ("--log", str(export))):
        with pytest.raises(ConfigError, match="both --of and --log"):
            coordinator.call("audit", "verify", *alone)


def test_a_side_that_signed_two_histories_shows_and_the_own_log_still_holds(tmp_path: Path) -> None:
    coordinator, _, _ = shown_to_the_other(tmp_path)
    key, log = SigningKey.generate(), coordinator.open().log
    honest, rewritten = SideAtTerminal("site", tmp_path / "b1"), SideAtTerminal("site", tmp_path / "b2")
    for number, one in enumerate((honest, rewritten)):
        one.open().log.append(RunRunning(subject=f"run-{number}"), actor="site-b", at=1.0)
        given = one.open().log.checkpoint(side="site-b", key=key, at=2.0 + number)
        log.keep_checkpoint("site-b", given, key=key.verify_key, actor="coordinator", at=3.0)

    with pytest.raises(ContradictedError, match="site-b"):
        coordinator.call("audit", "verify")

    (told,) = coordinator.call("audit", "show", "--event", "audit.contradicted")
    assert (told["subject"], told["details"]["reason"]) == ("site-b", Contradiction.FORKED.value)
    assert isinstance(verify_chain(log.lines()), Verified)
