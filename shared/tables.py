"""TOML that persons write: read strictly, with errors that name the setting."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.errors import ConfigError


class Table(BaseModel):
    """A table of settings: frozen, strict, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


AnyTable = TypeVar("AnyTable", bound=Table)


def read_table(table: type[AnyTable], text: str | bytes, *, what: str, error: type[ConfigError]) -> AnyTable:
    """Read a table from TOML.

    Parameters
    ----------
    table
        What to read.
    text
        TOML source; bytes must be UTF-8.
    what
        The document's name in messages, such as `plan`.
    error
        Class to raise.

    Raises
    ------
    ConfigError
        Of the class given: the text is not TOML, a key is unknown (the nearest known one is named), a
        required setting is missing, or a value is out of range.
    """
    try:
        source = text if isinstance(text, str) else text.decode()
        return table.model_validate(tomllib.loads(source))
    except UnicodeDecodeError as fault:
        raise error(f"The {what} is not text in UTF-8.", "Save it as UTF-8.") from fault
    except tomllib.TOMLDecodeError as fault:
        raise error(
            f"The {what} is not valid TOML: {fault}.", f"Correct that place of the {what}."
        ) from fault
    except ValidationError as fault:
        raise _explain(table, fault, what, error) from fault


def _explain(
    table: type[BaseModel], fault: ValidationError, what: str, error: type[ConfigError]
) -> ConfigError:
    faults = fault.errors(include_url=False, include_input=False)
    first = min(faults, key=lambda one: one["type"] != "extra_forbidden")
    location = first["loc"]
    name = ".".join(part for part in location if isinstance(part, str))
    if not location:
        return error(
            f"The {what}'s settings do not go together: {first['ctx']['error']}.", "Change one of them."
        )
    if first["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(str(location[-1]), _known(table, location), n=1, cutoff=0.0)
        return error(f"The {what} has an unknown setting '{name}'.", f"Did you mean '{nearest[0]}'?")
    if first["type"] == "missing":
        return error(f"The {what} lacks the setting '{name}'.", "Add it.")
    return error(f"The {what}'s setting '{name}' is not usable: {first['msg']}.", "Correct its value.")


def _known(table: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The settings that a table may hold, found along the place of an unknown one."""
    for part in location[:-1]:
        if (
            part in table.model_fields
        ):  # a part that is no field is the name of a table in a mapping of tables
            table = next(_tables_in(table.model_fields[str(part)].annotation))
    return list(table.model_fields)


def _tables_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _tables_in(inner)
