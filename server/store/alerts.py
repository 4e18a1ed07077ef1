"""The register of alerts: what was judged, who has seen it, and which notices of it are still to be sent.

An alert and its notices are one transaction: whatever process ends when, none is lost, and none is taken up
that is known to have gone out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, and_, insert, or_, select, update

from server.monitoring.rules import Finding, Judgement
from server.store.audit import append
from server.store.schema import alert, notice
from shared.audit.events import AlertAcknowledged
from shared.audit.log import take_write_lock
from shared.errors import NotFoundError
from shared.store import transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that a person should know of; times in seconds since the Unix epoch.

    Attributes
    ----------
    ended_at
        When it was over; None while it lasts. What just happened ended as it was raised.
    acknowledged_by
        Who has said that they have seen it.
    """

    alert_id: int
    rule: str
    subject: str
    text: str
    raised_at: float
    ended_at: float | None
    acknowledged_at: float | None
    acknowledged_by: str | None

    @property
    def is_open(self) -> bool:
        """Whether somebody must still see to it: it lasts, or nobody has seen it."""
        return self.ended_at is None or self.acknowledged_at is None


class NoticeKind(StrEnum):
    """What a notice tells of an alert."""

    RAISED = "raised"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message by one channel.

    Attributes
    ----------
    tries
        How often it was tried in vain.
    """

    alert: Alert
    kind: NoticeKind
    channel: str
    made_at: float
    tries: int

    @property
    def notice_id(self) -> str:
        """The same at every try, so that a receiver can tell one that comes twice."""
        return f"alert-{self.alert.alert_id}-{self.kind}-{self.alert.raised_at:.0f}"


class Alerts:
    """The register."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def follow(self, judgement: Judgement, *, channels: Collection[str], at: float) -> list[Alert]:
        """Raise what was found and is not known yet, end what stands no more, with a notice by each channel.

        Returns
        -------
        The alerts that were raised.
        """
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            standing = {
                row["key"]: row["alert_id"]
                for row in connection.execute(select(alert).where(alert.c.ended_at.is_(None))).mappings()
            }
            found = {each.key: each for each in judgement.found}
            new = [each for each in found.values() if each.key not in standing]
            told = _known(connection, [each.key for each in new if not each.is_lasting])
            raised = [
                _raise(connection, each, channels, at)
                for each in new
                if each.is_lasting or each.key not in told
            ]
            over = [standing[key] for key in standing.keys() - found.keys() - judgement.untold]
            for alert_id in sorted(over):
                connection.execute(update(alert).where(alert.c.alert_id == alert_id).values(ended_at=at))
                _announce(connection, alert_id, NoticeKind.ENDED, channels, at)
        return raised

    def all(self, *, most: int | None = None) -> list[Alert]:
        """Every alert, newest first."""
        query = select(alert).order_by(alert.c.alert_id.desc())
        with transaction(self._engine) as connection:
            rows = connection.execute(query if most is None else query.limit(most)).mappings().all()
        return [_to_alert(row) for row in rows]

    def open(self) -> list[Alert]:
        """Those that somebody must still see to, newest first."""
        query = select(alert).where(_is_open()).order_by(alert.c.alert_id.desc())
        with transaction(self._engine) as connection:
            return [_to_alert(row) for row in connection.execute(query).mappings()]

    def acknowledge(self, alert_id: int, *, actor: str, at: float) -> Alert:
        """Note that a person has seen an alert; who was first stays so.

        Raises
        ------
        NotFoundError
            There is no such alert.
        """
        with transaction(self._engine) as connection:
            take_write_lock(connection)
            row = (
                connection.execute(select(alert).where(alert.c.alert_id == alert_id)).mappings().one_or_none()
            )
            if row is None:
                raise NotFoundError(f"There is no alert {alert_id}.", "`alerts list --all` shows all.")
            if row["acknowledged_at"] is None:
                seen = {"acknowledged_at": at, "acknowledged_by": actor}
                connection.execute(update(alert).where(alert.c.alert_id == alert_id).values(**seen))
                event = AlertAcknowledged(subject=f"alert-{alert_id}", rule=row["rule"])
                append(connection, event, actor=actor, at=at)
                return _to_alert({**row, **seen})
            return _to_alert(row)

    def due(self, channel: str, *, at: float) -> list[Notice]:
        """Notices that a channel is to send by now, oldest first."""
        query = (
            select(alert, notice.c.kind, notice.c.channel, notice.c.made_at, notice.c.tries)
            .join(notice, notice.c.alert_id == alert.c.alert_id)
            .where(notice.c.channel == channel, _is_unsent(), notice.c.due_at <= at)
            .order_by(notice.c.made_at, notice.c.alert_id)
        )
        with transaction(self._engine) as connection:
            return [_to_notice(row) for row in connection.execute(query).mappings()]

    def num_unsent(self, channel: str) -> int:
        """How many notices a channel has still to send."""
        query = select(notice.c.alert_id).where(notice.c.channel == channel, _is_unsent())
        with transaction(self._engine) as connection:
            return len(connection.execute(query).all())

    def note_sent(self, notices: Sequence[Notice], *, at: float) -> None:
        """They went out."""
        self._note(notices, sent_at=at)

    def postpone(self, notices: Sequence[Notice], *, until: float) -> None:
        """They were tried in vain, and are tried again then."""
        self._note(notices, due_at=until, tries=notice.c.tries + 1)

    def drop(self, notices: Sequence[Notice], *, at: float) -> None:
        """They are too old to be of use to anybody."""
        self._note(notices, dropped_at=at)

    def _note(self, notices: Sequence[Notice], **values: object) -> None:
        with transaction(self._engine) as connection:
            for each in notices:
                connection.execute(
                    update(notice)
                    .where(
                        notice.c.alert_id == each.alert.alert_id,
                        notice.c.kind == each.kind,
                        notice.c.channel == each.channel,
                    )
                    .values(**values)
                )


def _raise(connection: Connection, found: Finding, channels: Collection[str], at: float) -> Alert:
    values = {
        "rule": str(found.rule),
        "subject": found.subject,
        "text": found.text,
        "raised_at": at,
        "ended_at": None if found.is_lasting else at,
    }
    done = connection.execute(insert(alert).values(key=found.key, **values))
    assert done.inserted_primary_key is not None  # of an insert of one row
    alert_id = done.inserted_primary_key[0]
    _announce(connection, alert_id, NoticeKind.RAISED, channels, at)
    return _to_alert({"alert_id": alert_id, "acknowledged_at": None, "acknowledged_by": None, **values})


def _announce(
    connection: Connection, alert_id: int, kind: NoticeKind, channels: Collection[str], at: float
) -> None:
    for channel in sorted(channels):
        values = {
            "alert_id": alert_id,
            "kind": kind,
            "channel": channel,
            "made_at": at,
            "due_at": at,
            "tries": 0,
        }
        connection.execute(insert(notice).values(values))


def _known(connection: Connection, keys: Sequence[str]) -> frozenset[str]:
    query = select(alert.c.key).where(alert.c.key.in_(keys))
    return frozenset(connection.execute(query).scalars()) if keys else frozenset()


def _is_open() -> ColumnElement[bool]:
    return or_(alert.c.ended_at.is_(None), alert.c.acknowledged_at.is_(None))


def _is_unsent() -> ColumnElement[bool]:
    return and_(notice.c.sent_at.is_(None), notice.c.dropped_at.is_(None))


def _to_alert(row: Mapping[Any, Any]) -> Alert:
    return Alert(**{name: row[name] for name in (field.name for field in fields(Alert))})


def _to_notice(row: RowMapping) -> Notice:
    return Notice(
        alert=_to_alert(row),
        kind=NoticeKind(row["kind"]),
        channel=row["channel"],
        made_at=row["made_at"],
        tries=row["tries"],
    )
