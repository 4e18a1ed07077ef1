"""No reason of the software's own is withheld from the audit log: each is a plain sentence."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import errors
from shared.audit.event import WITHHELD
from shared.audit.events import RunFailed

REPOSITORY = Path(__file__).resolve().parents[3]
ENDING = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type)
    and issubclass(kind, errors.MammofedError)
    and not issubclass(kind, errors.ConfigError)
}
"""Errors whose message becomes the reason of a run that has ended."""

NAMED = {"failure", "reason", "LEFT", "REVOKED", "PAUSED", "WITHDRAWN", "NO_ANSWER", "INTERRUPTED"}


def words(node: ast.expr | None) -> str | None:
    """A literal, or a formatted one with a stand-in for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(words(each) or "a1" for each in node.values)
    return None


def reasons(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        found: list[ast.expr] = []
        if isinstance(node, ast.Call):
            found = [each.value for each in node.keywords if each.arg in {"reason", "failure"}]
            if isinstance(node.func, ast.Name) and node.func.id in ENDING:
                found += node.args[:1]
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found = [node.value] if node.targets[0].id in NAMED else []
        yield from filter(None, map(words, found))


FOLDERS = ("server", "shared/model", "shared/transfer")
FILES = sorted(file for folder in FOLDERS for file in (REPOSITORY / folder).rglob("*.py"))
ALL = sorted({each for file in FILES for each in reasons(file)})


@pytest.mark.parametrize("reason", ALL)
def test_the_audit_log_does_not_withhold_the_softwares_own_reason(reason: str) -> None:
    assert RunFailed(subject="run-1", reason=reason).reason != WITHHELD


def test_reasons_were_found() -> None:
    assert len(ALL) > 20
