"""Reading `policy.toml`: one wrong line, and nothing is allowed until it is corrected."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from client.policy.policy import Policy
from shared.errors import PolicyFileError

HINT = "Correct that line; until then this site refuses every plan and every round."

_TABLE = re.compile(r"\s*\[\s*([A-Za-z0-9_-]+)\s*\]")
_KEY = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")


def read_policy(file: Path) -> Policy:
    """The policy of a file; the defaults if there is none.

    Raises
    ------
    PolicyFileError
        It cannot be read, or a line of it is wrong: the message names line, key and what is allowed.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return Policy()
    except OSError as error:
        raise PolicyFileError(
            "policy.toml cannot be read.", "Give its owner the right to read it; it refuses until then."
        ) from error
    return parse_policy(content)


def parse_policy(content: bytes) -> Policy:
    """The policy that TOML source holds. Raises PolicyFileError, as `read_policy`."""
    try:
        source = content.decode()
        return Policy.model_validate(tomllib.loads(source))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        _refuse(line, "this line is not text in UTF-8", error)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else source.count("\n") + 1
        _refuse(line, "this is not TOML; a line is `key = value` or `[table]`", error)
    except ValidationError as error:
        location = _location_of(error)
        _refuse(_line_of(source, location), _explain(location, error), error)


def _refuse(line: int, what: str, cause: Exception) -> NoReturn:
    raise PolicyFileError(f"policy.toml, line {line}: {what}.", HINT) from cause


def _location_of(error: ValidationError) -> tuple[str, ...]:
    """Table and key of the first fault; positions within a list are left out."""
    (first, *_) = error.errors(include_url=False, include_input=False)
    names = [part for part in first["loc"] if isinstance(part, str)]
    return tuple(names[:2])


def _explain(location: tuple[str, ...], error: ValidationError) -> str:
    name = ".".join(location)
    table: type[BaseModel] = Policy
    for place, part in enumerate(location):
        field = table.model_fields.get(part)
        if field is None:
            nearest = difflib.get_close_matches(part, table.model_fields, n=1, cutoff=0.0)[0]
            return f"there is no rule '{name}'; did you mean '{nearest}'"
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            table = inner
            if place == len(location) - 1:
                return _explain_table(name, error)
    return f"'{name}' must be {field.description if field else 'another value'}"


def _explain_table(name: str, error: ValidationError) -> str:
    message = error.errors(include_url=False, include_input=False)[0]
    if message["type"] == "value_error":
        return f"in [{name}], {message['msg'].removeprefix('Value error, ')}"
    return f"'{name}' must be a table of rules, `[{name}]`"


def _line_of(source: str, location: tuple[str, ...]) -> int:
    """The line, from 1, where a rule stands, or its table where only that is found."""
    wanted_table, wanted_key = (location[0], location[1]) if len(location) == 2 else ("", location[0])
    table, best = "", 1
    for number, line in enumerate(source.splitlines(), start=1):
        if header := _TABLE.match(line):
            table = header[1]
            if table == location[0]:
                best = number
        elif (key := _KEY.match(line)) and (table, key[1]) == (wanted_table, wanted_key):
            return number
    return best


def as_plain(policy: Policy) -> dict[str, Any]:
    """JSON values of every rule, by its name, such as `limits.rounds`."""
    plain: dict[str, Any] = {}
    for name, value in policy.model_dump(mode="json").items():
        if isinstance(value, dict):
            plain.update({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            plain[name] = value
    return plain
