"""The log as text: JSON lines, which can be verified elsewhere, and syslog for a hospital's collector."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, TextIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.audit.chain import AuditLine, canonical_json
from shared.audit.event import Detail
from shared.errors import TamperedError

SYSLOG_PRIORITY = 13 * 8 + 5
"""RFC 5424, 6.2.1: facility 13 (log audit), severity 5 (notice)."""

ENTERPRISE_NUMBER = 32473
"""RFC 5424, 7.2.2. RFC 5612 reserves this number for examples: a placeholder until we have our own."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ESCAPED = re.compile(r'(["\\\]])')


class _Document(BaseModel):
    """A line as an export holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sequence: int
    at_ms: int
    actor: str
    name: Annotated[str, Field(alias="event")]
    subject: str
    details: dict[str, Detail]
    previous: str
    hash: str


def write_json_lines(lines: Iterable[AuditLine], stream: TextIO) -> None:
    """Write each line as canonical JSON, with the hash among its keys."""
    for line in lines:
        stream.write(canonical_json(line.to_document()).decode() + "\n")


def read_json_lines(stream: Iterable[str]) -> Iterator[AuditLine]:
    """Read what `write_json_lines` wrote. The lines are as unverified as the file.

    Raises
    ------
    TamperedError
        A line is not of that form.
    """
    for text in stream:
        try:
            document = _Document.model_validate(json.loads(text))
        except (ValidationError, ValueError, RecursionError) as error:
            raise TamperedError(
                "An exported audit log holds something that is no line of one.",
                "Export it again at its origin; ask there what happened to it if it recurs.",
            ) from error
        yield AuditLine(**dict(document))


def write_syslog(lines: Iterable[AuditLine], stream: TextIO, *, hostname: str) -> None:
    """Write each line as one message of RFC 5424, ended by a line feed; all is in the structured data.

    The element `audit` holds what every line has, `details` what goes with its event.

    Parameters
    ----------
    hostname
        Name of this side in the collector: printable ASCII without blanks, at most 255 (section 6.2.4).
    """
    for line in lines:
        stream.write(_syslog_message(line, hostname) + "\n")


def _syslog_message(line: AuditLine, hostname: str) -> str:
    at = datetime.datetime.fromtimestamp(line.at_ms / 1000, tz=datetime.UTC)
    timestamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    common = [
        ("sequence", str(line.sequence)),
        ("actor", line.actor),
        ("subject", line.subject),
        ("previous", line.previous),
        ("hash", line.hash),
    ]
    details = [(name, value) for name in sorted(line.details) for value in _values(line.details[name])]
    return (
        f"<{SYSLOG_PRIORITY}>1 {timestamp} {hostname} mammofed - {line.name} "
        f"{_element('audit', common)}{_element('details', details)}"
    )


def _element(name: str, parameters: Iterable[tuple[str, str]]) -> str:
    data = "".join(f' {key}="{_escape(value)}"' for key, value in parameters)
    return f"[{name}@{ENTERPRISE_NUMBER}{data}]"


def _values(detail: Detail) -> list[str]:
    """A parameter may be repeated (section 6.3.3): once per member of a list, not at all for null."""
    if detail is None:
        return []
    if isinstance(detail, list):
        return detail
    return [detail if isinstance(detail, str) else json.dumps(detail)]


def _escape(value: str) -> str:
    """Section 6.3.3: a backslash before quote, backslash and bracket. One message must stay one line."""
    return _ESCAPED.sub(r"\\\1", _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value))
