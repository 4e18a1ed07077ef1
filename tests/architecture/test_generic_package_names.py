"""The guards that packages named `server`, `client` and `shared` need, and the size of their modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import client
import server
import shared
from shared.flower.bundle import build_bundle

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = ("server", "client", "shared")
MAX_LINES = 400


def modules() -> list[Path]:
    files = [file for room in ROOMS for file in sorted((REPOSITORY / room).rglob("*.py"))]
    return [file for file in files if not file.stem.endswith(("_pb2", "_pb2_grpc"))]


@pytest.mark.parametrize("name", [*ROOMS, "tests", "deploy"])
def test_no_other_distribution_claims_a_room(name: str) -> None:
    claimed_by = set(packages_distributions().get(name, []))

    assert claimed_by <= {"mammofed"}


@pytest.mark.parametrize("room", [server, client, shared])
def test_the_rooms_that_are_imported_are_ours(room) -> None:
    assert Path(room.__file__).is_relative_to(REPOSITORY)


def test_a_folder_named_like_a_room_in_the_working_directory_is_not_imported_by_a_child(
    tmp_path: Path,
) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "__init__.py").write_text("raise SystemExit('the wrong server')")

    done = subprocess.run(
        [sys.executable, "-P", "-c", "import server; print(server.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(REPOSITORY)


def test_every_child_is_started_from_one_place_and_with_a_safe_path() -> None:
    starters = {
        file.relative_to(REPOSITORY).as_posix()
        for file in modules()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and "subprocess" in {getattr(node, "module", None), *(each.name for each in node.names)}
    }

    # Beside our own children, which one module starts, the driver's own program is asked for the GPUs.
    assert starters == {"shared/supervision.py", "client/gpus.py"}
    assert '[sys.executable, "-P", "-m",' in (REPOSITORY / "shared/supervision.py").read_text()


def test_the_console_scripts_are_the_ones_that_are_documented() -> None:
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

    assert project["scripts"] == {
        "mammofed-coordinator": "server.cli:main",
        "mammofed-site": "client.cli:main",
    }


def test_tests_are_no_package() -> None:
    assert list((REPOSITORY / "tests").rglob("__init__.py")) == []


def test_the_flower_bundle_holds_no_module() -> None:
    assert b".py" not in build_bundle()


@pytest.mark.parametrize("file", modules(), ids=lambda file: file.relative_to(REPOSITORY).as_posix())
def test_a_module_has_one_reason_to_exist_and_fits_on_a_few_screens(file: Path) -> None:
    text = file.read_text()

    assert len(text.splitlines()) <= MAX_LINES
    assert file.name in {"env.py"} or ast.get_docstring(ast.parse(text))
    assert not {"utils", "helper", "helpers", "manager"} & set(file.stem.split("_"))
