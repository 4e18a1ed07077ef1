"""The readers' word for a density category is said by one module, which asks for a calibration."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SPEAKER = "shared/band_calibration.py"
WORD = re.compile(r"bi-?rads", re.IGNORECASE)


def strings(tree: ast.Module) -> Iterator[str]:
    """Every string that a program can say: all but those that stand alone, as docstrings do."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.value


def test_no_other_module_and_no_page_can_say_it() -> None:
    speakers = set()
    for room in ("server", "client", "shared"):
        for file in sorted((REPOSITORY / room).rglob("*")):
            if file.suffix == ".py":
                said = list(strings(ast.parse(file.read_text(encoding="utf-8"))))
            elif file.suffix in {".j2", ".html", ".js", ".toml", ".txt"}:
                said = [file.read_text(encoding="utf-8")]
            else:
                continue
            if any(WORD.search(each) for each in said):
                speakers.add(file.relative_to(REPOSITORY).as_posix())

    assert speakers == {SPEAKER}
