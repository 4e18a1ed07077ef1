"""How notices of alerts read: lines for persons, JSON for machines.

Nothing is in them but what an alert holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from server.store.alerts import Notice, NoticeKind

FORMAT = 1


def subject_of(federation: str, notices: Sequence[Notice]) -> str:
    """The subject of a mail about these notices."""
    if len(notices) > 1:
        return f"[{federation}] {len(notices)} notices"
    one = notices[0]
    over = "over: " if one.kind is NoticeKind.ENDED else ""
    return f"[{federation}] {over}{one.alert.rule}: {one.alert.subject}"


def body_of(federation: str, notices: Sequence[Notice], console: str | None) -> str:
    """The text of a mail about these notices."""
    lines = [f"The coordinator of the federation '{federation}' reports:", ""]
    for each in notices:
        at = each.alert.ended_at if each.kind is NoticeKind.ENDED else each.alert.raised_at
        over = "Over: " if each.kind is NoticeKind.ENDED else ""
        lines += [
            f"- {moment(at or each.made_at)}  {over}{each.alert.text}",
            f"  alert {each.alert.alert_id}, {each.alert.rule}",
        ]
    lines += [
        "",
        "At the coordinator `alerts list` shows what is open, `alerts acknowledge NUMBER` notes it as seen.",
    ]
    if console is not None:
        lines.append(f"So does the console: {console}alerts")
    return "\n".join(lines) + "\n"


def json_of(federation: str, notice: Notice) -> dict[str, Any]:
    """What a webhook is sent of a notice."""
    alert = notice.alert
    return {
        "format": FORMAT,
        "id": notice.notice_id,
        "kind": notice.kind.value,
        "federation": federation,
        "alert": {
            "number": alert.alert_id,
            "rule": alert.rule,
            "subject": alert.subject,
            "text": alert.text,
            "raised_at": moment(alert.raised_at),
            "ended_at": None if alert.ended_at is None else moment(alert.ended_at),
        },
    }


def moment(at: float) -> str:
    """A time as all machines read it (RFC 3339, UTC)."""
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
