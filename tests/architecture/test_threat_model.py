"""Every promise of the threat model is attacked by a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NAMED = re.findall(r"`(test_[a-z0-9_]+)`", (REPOSITORY / "docs" / "threat-model.md").read_text())
WRITTEN = {
    name
    for file in (REPOSITORY / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_[a-z0-9_]+)", file.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("name", NAMED)
def test_the_test_that_a_promise_names_exists(name: str) -> None:
    assert name in WRITTEN


def test_every_line_of_the_promises_names_a_test() -> None:
    text = (REPOSITORY / "docs" / "threat-model.md").read_text()
    table = text.partition("## What is promised")[2].partition("## What is not")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert lines
    assert all("`test_" in line for line in lines)
