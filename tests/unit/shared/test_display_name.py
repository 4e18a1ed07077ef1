"""Names that are shown hold nothing that a terminal obeys."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from server.home import CoordinatorSettings
from shared.display_name import is_display_name

HOSTILE = ["\x1b[2J", "a\nb", "a\rb", "bell\x07", "\x9b31m", "\u202egnp.exe", "a\u2028b", "", "  ", "x" * 81]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_federations_name_with_terminal_control_is_refused_when_it_is_founded(name: str) -> None:
    assert not is_display_name(name)
    with pytest.raises(ValidationError):
        CoordinatorSettings(name=name)


@pytest.mark.parametrize("name", ["Density study 2026", "Århus & København", "乳腺", "x" * 80])
def test_names_that_people_give_are_kept(name: str) -> None:
    assert CoordinatorSettings(name=name).name == name
