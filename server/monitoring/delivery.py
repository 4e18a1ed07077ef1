"""Sends the notices that are due, by each channel: later and later while it fails, and in no other's way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from server.monitoring.channel import Channel, Channels
from server.store.alerts import Alert, Alerts, Notice, NoticeKind
from shared.errors import ChannelError, ConfigError

FIRST_PAUSE_S = 15.0
LONGEST_PAUSE_S = 3600.0
OF_USE_S = 3 * 86_400.0
"""After so long a notice that could not be sent is dropped; the alert stays in the list."""


def pause_s(num_tries: int) -> float:
    """How long to wait after so many tries in vain, from 1."""
    return min(FIRST_PAUSE_S * 2.0 ** min(num_tries - 1, 20), LONGEST_PAUSE_S)


def deliver(
    alerts: Alerts, channels: Channels, *, clock: Callable[[], float], on_send: Callable[[], None]
) -> Mapping[str, ChannelError | ConfigError]:
    """Send what is due now.

    Parameters
    ----------
    on_send
        Called before each message, which may take as long as its channel's patience.

    Returns
    -------
    What is wrong with each channel that failed, by its name.

    Raises
    ------
    StoreError
        The store refused: what was sent at that moment may be sent once more, with the same id.
    """
    failed: dict[str, ChannelError | ConfigError] = {}
    for name, channel in channels.items():
        due = alerts.due(name, at=clock())
        too_old = [each for each in due if clock() - each.made_at > OF_USE_S]
        alerts.drop(too_old, at=clock())
        waiting = [each for each in due if each not in too_old]
        while waiting:
            on_send()
            sent, error = _send(channel, waiting, alerts, clock)
            if error is not None:
                failed[name] = error
                num_tries = 1 + min(each.tries for each in waiting)
                alerts.postpone(waiting, until=clock() + pause_s(num_tries))
                break
            waiting = waiting[sent:]
    return failed


def test_notice(channel: str, *, asked_by: str, now: float) -> Notice:
    """What tells nothing but that a channel works."""
    nothing = Alert(
        alert_id=0,
        rule="test",
        subject="coordinator",
        text=f"Nothing is wrong: {asked_by} tests this channel.",
        raised_at=now,
        ended_at=now,
        acknowledged_at=None,
        acknowledged_by=None,
    )
    return Notice(alert=nothing, kind=NoticeKind.RAISED, channel=channel, made_at=now, tries=0)


def _send(
    channel: Channel, waiting: Sequence[Notice], alerts: Alerts, clock: Callable[[], float]
) -> tuple[int, ChannelError | ConfigError | None]:
    """Send one message; returns how many notices went out with it, and what was wrong if none did."""
    first = waiting[: channel.most_at_once]
    try:
        channel.send(first, now=clock())
    except (ChannelError, ConfigError) as error:
        return 0, error
    alerts.note_sent(first, at=clock())
    return len(first), None
