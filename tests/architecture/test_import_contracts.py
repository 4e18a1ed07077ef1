"""Who may import whom, held by import-linter; and that it would notice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def lint_imports(repository: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", ".importlinter"],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_contract_is_kept() -> None:
    done = lint_imports(REPOSITORY)

    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(REPOSITORY / ".importlinter", folder)
    for room in ("server", "client", "shared"):
        shutil.copytree(REPOSITORY / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_each_forbidden_import_breaks_its_contract(copy: Path) -> None:
    trespasses = {
        "client/egress.py": ("import server.lifecycle", "never meet"),
        "shared/plan.py": ("import flwr", "three doors"),
        "client/using.py": ("import pydicom", "what speaks with archives"),
        "client/workplace.py": ("import pynetdicom", "two rooms"),
        "server/rounds.py": ("import sqlalchemy", "SQL stays"),
        "server/exchange.py": ("import cryptography", "Key material"),
        "server/progress.py": ("import matplotlib", "drawn in one module"),
        "server/network.py": ("import argon2", "hashed in one module"),
        "server/joining.py": ("import pyotp", "made in one module"),
        "server/members.py": ("import prometheus_client", "format is written in one module"),
        "server/combining.py": ("import server.store", "What decides"),
        "server/summary.py": ("import PIL", "knows no image"),
    }
    for file, (line, _) in trespasses.items():
        with (copy / file).open("a") as module:
            module.write(f"\n{line}\n")

    done = lint_imports(copy)

    assert done.returncode == 1
    assert " 0 kept" in done.stdout, done.stdout
    for line, contract in trespasses.values():
        assert contract in done.stdout, line
