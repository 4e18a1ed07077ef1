"""How both command lines speak."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer

from shared.errors import QuorumError, TokenError
from shared.terminal import Output, run_command_line


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_result_is_text_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    Output(False).result({"model": "density-1"}, "density-1 is [intact].")

    assert capsys.readouterr().out == "density-1 is [intact].\n"


def test_a_result_is_one_json_value_on_a_line_for_a_machine(capsys: pytest.CaptureFixture[str]) -> None:
    Output(True).result({"model": "density-1", "bytes": 3}, "density-1 is intact.")

    assert capsys.readouterr().out == '{"model": "density-1", "bytes": 3}\n'


def test_a_long_text_is_not_wrapped_so_that_a_token_can_be_copied(
    capsys: pytest.CaptureFixture[str],
) -> None:
    token = "mf1_" + "x" * 400

    Output(False).result({}, token)

    assert capsys.readouterr().out == token + "\n"


def test_a_table_has_a_heading_for_each_key_and_a_line_for_each_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{"site_id": "site-1", "state": "active"}, {"site_id": "site-2", "state": "revoked"}]

    Output(False).table("Sites", rows, empty="None yet.")

    shown = capsys.readouterr().out
    assert all(word in shown for word in ("Sites", "site id", "state", "site-1", "site-2", "revoked"))


def test_a_table_without_rows_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    Output(False).table("Sites", [], empty="None yet: `site invite`.")

    assert capsys.readouterr().out == "None yet: `site invite`.\n"


@pytest.mark.parametrize("rows", [[], [{"site_id": "site-1"}]])
def test_a_table_for_a_machine_is_a_list(rows, capsys: pytest.CaptureFixture[str]) -> None:
    Output(True).table("Sites", rows, empty="None yet.")

    assert json.loads(capsys.readouterr().out) == rows


def test_what_a_site_calls_itself_is_shown_as_it_is_and_not_as_markup(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output(False).table("Sites", [{"software": "[/bold] [red]9.9[/red]"}], empty="")

    assert "[/bold] [red]9.9[/red]" in capsys.readouterr().out


def test_progress_is_silent_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(True).progress("Preparing") as advance:
        advance(1, 2)
        advance(2, 2)

    assert capsys.readouterr().out == ""


def command_line(error: Exception) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    "error",
    [
        TokenError("This invitation has expired.", "Ask for a new one."),
        QuorumError("Too few sites.", "Invite [more]."),
    ],
)
def test_an_error_is_two_lines_on_standard_error_and_its_exit_code(
    error, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["program"])

    with pytest.raises(SystemExit) as ended:
        run_command_line(command_line(error))

    shown = capsys.readouterr()
    assert ended.value.code == error.exit_code
    assert shown.out == ""
    assert shown.err == f"Error: {error.message}\n  {error.hint}\n"


def test_a_fault_of_ours_is_not_dressed_up_as_an_error_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program"])

    with pytest.raises(ZeroDivisionError):
        run_command_line(command_line(ZeroDivisionError()))


def test_files_of_a_command_line_are_their_owners_alone(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(sys, "argv", ["program"])
    app = typer.Typer()

    @app.command()
    def write() -> None:
        (tmp_path / "file").touch()

    with pytest.raises(SystemExit) as ended:
        run_command_line(app)

    assert ended.value.code == 0
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_a_log_goes_to_its_own_private_folder(tmp_path) -> None:
    # In a process of its own: logging is set up once in each.
    program = (
        "import logging, pathlib, sys\n"
        "from shared.terminal import Output\n"
        "Output(True).log_to(pathlib.Path(sys.argv[1]) / 'logs' / 'site.log')\n"
        "logging.getLogger('client').info('ready')\n"
        "logging.getLogger('httpx').info('GET https://coordinator/secret')\n"
    )

    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True)

    logged = (tmp_path / "logs" / "site.log").read_text()
    assert "INFO client ready" in logged
    assert "secret" not in logged
    assert (tmp_path / "logs").stat().st_mode & 0o077 == 0
