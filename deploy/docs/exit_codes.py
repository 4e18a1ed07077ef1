"""Writes the page of exit codes from the tree of errors: `python -m deploy.docs.exit_codes`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

from shared.errors import (
    AdmissionError,
    AggregationError,
    ConfigError,
    EgressError,
    EnrolmentError,
    IntakeError,
    MammofedError,
    StoreError,
    TrustError,
)

FAMILIES: dict[type[MammofedError], range] = {
    ConfigError: range(10, 20),
    EnrolmentError: range(20, 30),
    TrustError: range(30, 40),
    IntakeError: range(40, 60),
    EgressError: range(60, 70),
    AdmissionError: range(70, 80),
    AggregationError: range(80, 90),
    StoreError: range(90, 100),
}
"""Each family with its range of exit codes."""

_HEAD = """\
# Exit codes

Generated from `shared/errors.py`: `make docs`.

Both command lines end with 0 if all went well, and with one of the codes below if not. An error that a person
can act on is two lines on standard error: what is wrong, and what to do. A code is never used again for
another meaning.

| Code | Meaning |
| ---: | --- |
| 0 | All went well. |
| 1 | A fault in mammofed itself; please report what was printed. |
| 2 | The command was called with unknown or missing arguments; nothing was done. |
"""


def classes_below(base: type[MammofedError]) -> Iterator[type[MammofedError]]:
    """A class and all below it in the tree, by exit code; what a room refines for itself is left out."""
    yield base
    for derived in sorted(base.__subclasses__(), key=lambda each: each.exit_code):
        if derived.__module__ == MammofedError.__module__:
            yield from classes_below(derived)


def render() -> str:
    """The page: a table of all codes, then a section for each class."""
    classes = [each for family in FAMILIES for each in classes_below(family)]
    rows = [f"| {each.exit_code} | [{each.__name__}](#{_anchor(each)}) |" for each in classes]
    sections = [_section(each) for each in classes]
    return _HEAD + "\n".join(rows) + "\n\n" + "\n\n".join(sections) + "\n"


def _section(error: type[MammofedError]) -> str:
    family = error in FAMILIES
    numbers = f"{FAMILIES[error].start} to {FAMILIES[error][-1]}" if family else ""
    lines = [
        f"{'##' if family else '###'} {_title(error)}",
        "",
        inspect.cleandoc(error.__doc__ or ""),
    ]
    if family:
        lines += ["", f"Codes {numbers} are of this family."]
    return "\n".join(lines)


def _title(error: type[MammofedError]) -> str:
    return f"{error.exit_code} {error.__name__}"


def _anchor(error: type[MammofedError]) -> str:
    return _title(error).lower().replace(" ", "-")


if __name__ == "__main__":
    sys.stdout.write(render())
