"""Pages that are generated from the code, and what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import typer

from deploy.docs import cli_reference, exit_codes
from shared.errors import MammofedError

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = {"cli.md": cli_reference.render, "exit-codes.md": exit_codes.render}
ERRORS = list(exit_codes.classes_below(MammofedError))[1:]

COMMANDS = {
    "mammofed-coordinator": ["--token-file", "--install-completion", "--show-completion"],
    "mammofed-coordinator init": [
        "--name",
        "--host",
        "--listen",
        "--first-port",
        "--database-file",
        "--home",
        "--json",
    ],
    "mammofed-coordinator serve": ["--home", "--json"],
    "mammofed-coordinator site invite": ["name", "--days", "--approve-by-hand", "--home", "--json"],
    "mammofed-coordinator site withdraw": ["name", "--home", "--json"],
    "mammofed-coordinator site approve": ["name", "--fingerprint", "--home", "--json"],
    "mammofed-coordinator site reject": ["name", "--home", "--json"],
    "mammofed-coordinator site revoke": ["name", "--reason", "--home", "--json"],
    "mammofed-coordinator site list": ["--watch", "--home", "--json"],
    "mammofed-coordinator keys show": ["--home", "--json"],
    "mammofed-coordinator keys rotate-signing": ["--home", "--json"],
    "mammofed-coordinator keys take-root-offline": ["file", "--passphrase-file", "--home", "--json"],
    "mammofed-coordinator keys renew-issuer": ["--root-key", "--passphrase-file", "--home", "--json"],
    "mammofed-coordinator keys rotate-root": ["--root-key", "--passphrase-file", "--home", "--json"],
    "mammofed-coordinator keys retire-root": ["--home", "--json"],
    "mammofed-coordinator run start": [
        "plan_file",
        "--detach",
        "--parent",
        "--initial-weights",
        "--partial",
        "--home",
        "--json",
    ],
    "mammofed-coordinator run extend": [
        "run_id",
        "--rounds",
        "--learning-rate",
        "--detach",
        "--home",
        "--json",
    ],
    "mammofed-coordinator run stop": ["run_id", "--home", "--json"],
    "mammofed-coordinator run resume": ["run_id", "--detach", "--home", "--json"],
    "mammofed-coordinator run watch": ["run_id", "--home", "--json"],
    "mammofed-coordinator run list": ["--home", "--json"],
    "mammofed-coordinator run show": ["run_id", "--round", "--watch", "--home", "--json"],
    "mammofed-coordinator plan new": ["name", "--rounds", "--like", "--home", "--json"],
    "mammofed-coordinator plan check": ["plan_file", "--home", "--json"],
    "mammofed-coordinator plan show": ["run_id", "--home", "--json"],
    "mammofed-coordinator model list": ["--home", "--json"],
    "mammofed-coordinator model show": ["model_id", "--home", "--json"],
    "mammofed-coordinator model compare": ["--measure", "--home", "--json"],
    "mammofed-coordinator model release": ["model_id", "--home", "--json"],
    "mammofed-coordinator model revoke": ["model_id", "--reason", "--home", "--json"],
    "mammofed-coordinator model download": ["model_id", "--output", "--home", "--json"],
    "mammofed-coordinator model verify": ["folder", "--home", "--json"],
    "mammofed-coordinator alerts list": ["--all", "--home", "--json"],
    "mammofed-coordinator alerts acknowledge": ["number", "--home", "--json"],
    "mammofed-coordinator alerts test": ["--home", "--json"],
    "mammofed-coordinator user add": ["name", "--role", "--home", "--json"],
    "mammofed-coordinator user list": ["--home", "--json"],
    "mammofed-coordinator user disable": ["name", "--home", "--json"],
    "mammofed-coordinator user password": ["--home", "--json"],
    "mammofed-coordinator user second-factor": ["--remove", "--home", "--json"],
    "mammofed-coordinator user single-sign-on": [
        "--subject",
        "--verified-email",
        "--remove",
        "--home",
        "--json",
    ],
    "mammofed-coordinator audit show": [
        "--since",
        "--event",
        "--actor",
        "--subject",
        "--words",
        "--until",
        "--limit",
        "--home",
        "--json",
    ],
    "mammofed-coordinator audit verify": ["--of", "--log", "--home", "--json"],
    "mammofed-coordinator audit export": ["--form", "--since", "--home"],
    "mammofed-site": ["--token-file", "--install-completion", "--show-completion"],
    "mammofed-site join": ["token", "--home", "--json"],
    "mammofed-site check": ["--home", "--json"],
    "mammofed-site serve": ["--home", "--json"],
    "mammofed-site store revision": ["--json"],
    "mammofed-site store rewind": ["to", "--home", "--json"],
    "mammofed-coordinator store revision": ["--json"],
    "mammofed-coordinator store rewind": ["to", "--home", "--json"],
    "mammofed-coordinator backup": ["target", "--passphrase-file", "--home", "--json"],
    "mammofed-coordinator restore": ["archive", "--passphrase-file", "--home", "--json"],
    "mammofed-coordinator it-sheet": ["page_file", "--home", "--json"],
    "mammofed-site network": ["--home", "--json"],
    "mammofed-site it-sheet": ["page_file", "--home", "--json"],
    "mammofed-coordinator network": ["--nginx", "--home", "--json"],
    "mammofed-site status": ["--home", "--json"],
    "mammofed-site page": ["--home", "--json"],
    "mammofed-site plans": ["--home", "--json"],
    "mammofed-site plan show": ["run_id", "--home", "--json"],
    "mammofed-site plan approve": ["run_id", "--home", "--json"],
    "mammofed-site plan reject": ["run_id", "--reason", "--home", "--json"],
    "mammofed-site policy show": ["--home", "--json"],
    "mammofed-site policy check": ["file", "--json"],
    "mammofed-site pause": ["--home", "--json"],
    "mammofed-site resume": ["--home", "--json"],
    "mammofed-site leave": ["--yes", "--untold", "--home", "--json"],
    "mammofed-site serve-dicom": ["--home", "--json"],
    "mammofed-site model list": ["--home", "--json"],
    "mammofed-site model show": ["model_id", "--home", "--json"],
    "mammofed-site model pull": ["model_id", "--home", "--json"],
    "mammofed-site model rollback": ["--home", "--json"],
    "mammofed-site segment": [
        "source",
        "--model",
        "--overlay",
        "--dicom",
        "--flips",
        "--personal",
        "--home",
        "--json",
    ],
    "mammofed-site privacy": ["--home", "--json"],
    "mammofed-site protection-pack": ["page_file", "--home", "--json"],
    "mammofed-coordinator protection-pack": ["page_file", "--home", "--json"],
    "mammofed-site ledger": ["--run", "--home", "--json"],
    "mammofed-site keys show": ["--home", "--json"],
    "mammofed-site keys rotate": ["--home", "--json"],
    "mammofed-site user add": ["name", "--role", "--home", "--json"],
    "mammofed-site user list": ["--home", "--json"],
    "mammofed-site user disable": ["name", "--home", "--json"],
    "mammofed-site audit show": [
        "--since",
        "--event",
        "--actor",
        "--subject",
        "--words",
        "--until",
        "--limit",
        "--home",
        "--json",
    ],
    "mammofed-site audit verify": ["--of", "--log", "--home", "--json"],
    "mammofed-site audit export": ["--form", "--since", "--home"],
    "mammofed-site data clinical add": ["table", "--home", "--json"],
    "mammofed-site data clinical show": ["--home", "--json"],
    "mammofed-site data add": [
        "source",
        "--accept-secondary-capture",
        "--accept-lossy",
        "--home",
        "--json",
    ],
    "mammofed-site data locate": ["source", "place", "--home", "--json"],
    "mammofed-site data presegment": ["source", "--model", "--output", "--form", "--home", "--json"],
    "mammofed-site data report": ["--plan", "--page", "--home", "--json"],
    "mammofed-site data pull": ["name", "--from", "--until", "--view", "--limit", "--home", "--json"],
    "mammofed-site data receive": ["--home", "--json"],
    "mammofed-site pacs check": ["name", "--home", "--json"],
    "mammofed-site data verify": ["--home", "--json"],
    "mammofed-site data remove": ["--patient", "--home", "--json"],
    "mammofed-site data forget": ["--yes", "--home", "--json"],
    "mammofed-site data masks add": [
        "folder",
        "--annotator",
        "--date",
        "--version",
        "--approved",
        "--home",
        "--json",
    ],
    "mammofed-site data masks locate": ["folder", "position", "--json"],
}
"""The frozen list: a new command or option is a decision, and changes this."""


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_the_generated_one(name: str) -> None:
    assert (REPOSITORY / "docs" / name).read_text() == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize("module", ["cli_reference", "exit_codes"])
def test_a_page_is_the_same_in_every_terminal_and_home(module: str, tmp_path: Path) -> None:
    environment = {
        "COLUMNS": "40",
        "TERM": "xterm-256color",
        "FORCE_COLOR": "1",
        "HOME": str(tmp_path),
        "MAMMOFED_HOME": str(tmp_path / "elsewhere"),
        "PYTHONPATH": str(REPOSITORY),
    }

    done = subprocess.run(
        [sys.executable, "-m", f"deploy.docs.{module}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == {"cli_reference": cli_reference, "exit_codes": exit_codes}[module].render()


def test_no_command_and_no_option_is_new() -> None:
    assert cli_reference.options() == COMMANDS


def parameters() -> list[tuple[str, click.Parameter]]:
    return [
        (name, parameter)
        for program, app in cli_reference.APPS.items()
        for name, command in cli_reference.everything(program, typer.main.get_command(app))
        for parameter in command.params
    ]


@pytest.mark.parametrize(("command", "parameter"), parameters(), ids=lambda each: getattr(each, "name", each))
def test_every_argument_and_option_says_what_it_is(command: str, parameter: click.Parameter) -> None:
    assert getattr(parameter, "help", None), command


# -- exit codes


def test_no_exit_code_has_two_meanings_and_none_is_one_that_a_shell_or_typer_uses() -> None:
    codes = [error.exit_code for error in ERRORS]

    assert len(set(codes)) == len(codes)
    assert not {0, 1, 2, *range(126, 256)} & set(codes)


@pytest.mark.parametrize("family", exit_codes.FAMILIES)
def test_a_familys_codes_are_in_its_range(family: type[MammofedError]) -> None:
    assert all(error.exit_code in exit_codes.FAMILIES[family] for error in exit_codes.classes_below(family))
    assert family.exit_code == exit_codes.FAMILIES[family].start


def test_the_families_are_all_there_are_and_their_ranges_do_not_meet() -> None:
    assert set(MammofedError.__subclasses__()) == set(exit_codes.FAMILIES)
    numbers = [number for family in exit_codes.FAMILIES.values() for number in family]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_a_name_a_code_and_a_section_of_its_own(error: type[MammofedError]) -> None:
    page = exit_codes.render()

    assert error.__name__.endswith("Error")
    assert "exit_code" in vars(error)
    assert re.fullmatch(r"[A-Za-z]{1,64}", error.__name__)
    assert len(re.findall(rf"^###? {error.exit_code} {error.__name__}$", page, re.MULTILINE)) == 1
    assert error.__doc__
    assert error.__doc__.strip().splitlines()[0] in page


def test_the_tree_at_the_head_of_the_errors_names_every_family_with_its_range() -> None:
    import shared.errors

    for family, codes in exit_codes.FAMILIES.items():
        line = rf"{family.__name__}\s+{codes.start}-{codes[-1]}\b"
        assert re.search(line, shared.errors.__doc__ or ""), line
