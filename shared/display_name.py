"""Names that one side gives and the other shows: of federations and sites.

A name stands on terminals and in logs, so it holds nothing that a terminal would obey or that turns the order
of letters around.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

MAX_CHARACTERS = 80


def is_display_name(name: str) -> bool:
    """Whether a name may be shown: 1 to 80 printable characters, not of spaces alone."""
    return 0 < len(name) <= MAX_CHARACTERS and name.isprintable() and bool(name.strip())


def _checked(name: str) -> str:
    if not is_display_name(name):
        raise ValueError(f"must be 1 to {MAX_CHARACTERS} printable characters")
    return name


DisplayName = Annotated[str, AfterValidator(_checked)]
"""A name in a table of settings."""
