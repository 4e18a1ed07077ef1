"""TOML that persons write."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from shared.errors import ConfigError, PlanError
from shared.tables import Table, read_table


class Shelf(Table):
    height_mm: int = 300


class Cupboard(Table):
    doors: int
    shelf: Shelf = Shelf()
    spare: Shelf | None = None
    others: Mapping[str, Shelf] = {}


def read(text: str, error: type[ConfigError] = ConfigError) -> Cupboard:
    return read_table(Cupboard, text, what="cupboard.toml", error=error)


def test_a_table_is_read_with_its_defaults() -> None:
    assert read("doors = 2") == Cupboard(doors=2, shelf=Shelf(height_mm=300))


@pytest.mark.parametrize("text", ["doors = 'two'", "doors = 2.0", "doors = true", "doors = 2\nshelf = 3"])
def test_a_value_of_another_type_is_never_converted(text: str) -> None:
    with pytest.raises(ConfigError, match=r"The cupboard.toml's setting '\w+' is not usable"):
        read(text)


def test_the_error_is_of_the_class_that_the_caller_chose() -> None:
    with pytest.raises(PlanError):
        read("doors = ", error=PlanError)


@pytest.mark.parametrize("table", ["shelf", "spare", "others.oak", "others.doors"])
def test_an_unknown_setting_is_told_before_any_other_fault(table: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"[{table}]\nheight_cm = 30\n")

    assert caught.value.message == f"The cupboard.toml has an unknown setting '{table}.height_cm'."
    assert caught.value.hint == "Did you mean 'height_mm'?"


def test_the_value_that_was_given_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        read("doors = 'my-secret'")

    assert "my-secret" not in caught.value.message + caught.value.hint


def test_a_table_is_frozen() -> None:
    with pytest.raises(ValidationError):
        read("doors = 1").doors = 2
