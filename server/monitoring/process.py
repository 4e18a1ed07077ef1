"""The process that watches the federation and tells of alerts, kept alive by the coordinator's."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from server.coordinator import Coordinator
from server.flower.control import Control
from server.home import CoordinatorHome
from server.monitoring.channel import Channels
from server.monitoring.channels import channels_of
from server.monitoring.delivery import deliver
from server.monitoring.gathering import Contacts, Gatherer
from server.monitoring.rules import judge
from shared.errors import MammofedError, StoreError
from shared.supervision import Pulse, follow_supervisor
from shared.terminal import log_to_standard_error

log = logging.getLogger(__name__)

EVERY_S = 5.0
LOOK_S = 120.0
"""The longest that a look may take: the store waits for half a minute at most."""


class Monitor:
    """Looks, judges, keeps and tells, one time after the other.

    Parameters
    ----------
    clock
        Seconds since the Unix epoch.
    """

    def __init__(
        self,
        home: CoordinatorHome,
        coordinator: Coordinator,
        contacts: Contacts,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = home.settings().alerts
        self._alerts = coordinator.alerts
        self._channels: Channels = channels_of(home)
        self._clock = clock
        self._gatherer = Gatherer(
            home, coordinator, contacts, measure=self._settings.metric, began_at=clock()
        )
        self._troubles: Mapping[str, str] = {}

    def look(self, on_send: Callable[[], None] = lambda: None) -> None:
        """Once. A store or a channel that refuses is told in the log, and tried again at the next look."""
        try:
            judgement = judge(self._gatherer.gather(now=self._clock()), self._settings, now=self._clock())
            for raised in self._alerts.follow(judgement, channels=self._channels, at=self._clock()):
                log.warning("alert %d, %s: %s", raised.alert_id, raised.rule, raised.text)
            failed = deliver(self._alerts, self._channels, clock=self._clock, on_send=on_send)
        except StoreError as error:
            self._tell({"store": error})
        else:
            self._tell(failed)

    def _tell(self, failed: Mapping[str, MammofedError]) -> None:
        """Log what has newly gone wrong, once."""
        for name, error in failed.items():
            if self._troubles.get(name) != error.message:
                log.error("%s: %s %s", name, error.message, error.hint)
        self._troubles = {name: error.message for name, error in failed.items()}


def serve(home: CoordinatorHome, pulse: Pulse) -> None:
    """Watch until told to stop.

    Raises
    ------
    HomeError, StoreError, TrustError
        See `Coordinator.open`.
    """
    monitor = Monitor(home, Coordinator.open(home), Control(home))
    while True:
        pulse.expect(LOOK_S)
        monitor.look(on_send=lambda: pulse.expect(LOOK_S))
        time.sleep(EVERY_S)


if __name__ == "__main__":
    follow_supervisor()
    log_to_standard_error()
    own_pulse = Pulse()
    own_pulse.start()
    serve(CoordinatorHome(Path(sys.argv[1])), own_pulse)
