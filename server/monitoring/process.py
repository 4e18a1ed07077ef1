"""The process that watches the federation and tells of alerts, kept alive by the coordinator's."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from server.coordinator import Coordinator
from server.flower.control import Control
from server.home import CoordinatorHome
from server.monitoring.channel import Channels
from server.monitoring.channels import channels_of
from server.monitoring.delivery import deliver
from server.monitoring.facts import Facts
from server.monitoring.gathering import Contacts, Gatherer
from server.monitoring.metrics import metrics_of, tally_of
from server.monitoring.rules import judge
from shared.errors import ConfigError, MammofedError, StoreError
from shared.metrics import Metric, MutualTls, metrics_page
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
        settings = home.settings()
        self._settings, self._has_page = settings.alerts, settings.metrics is not None
        self._alerts = coordinator.alerts
        self._channels: Channels = channels_of(home)
        self._clock = clock
        self._gatherer = Gatherer(
            home, coordinator, contacts, measure=self._settings.metric, began_at=clock()
        )
        self._troubles: Mapping[str, str] = {}
        self._coordinator = coordinator
        self._shown: Sequence[Metric] = ()

    def look(self, on_send: Callable[[], None] = lambda: None) -> None:
        """Once. A store or a channel that refuses is told in the log, and tried again at the next look."""
        try:
            facts = self._gatherer.gather(now=self._clock())
            judgement = judge(facts, self._settings, now=self._clock())
            for raised in self._alerts.follow(judgement, channels=self._channels, at=self._clock()):
                log.warning("alert %d, %s: %s", raised.alert_id, raised.rule, raised.text)
            failed = deliver(self._alerts, self._channels, clock=self._clock, on_send=on_send)
            self._show(facts)
        except StoreError as error:
            self._tell({"store": error})
        else:
            self._tell(failed)

    def metrics(self) -> Sequence[Metric]:
        """What the last look has found; a store that refuses shows by the age of it."""
        return self._shown

    def _show(self, facts: Facts) -> None:
        if self._has_page:
            tally = tally_of(self._coordinator, channels=self._channels)
            self._shown = metrics_of(facts, tally, measure=self._settings.metric, now=self._clock())

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
    coordinator = Coordinator.open(home)
    monitor = Monitor(home, coordinator, Control(home))
    with _page(home, monitor), _traces(home, coordinator):
        while True:
            pulse.expect(LOOK_S)
            monitor.look(on_send=lambda: pulse.expect(LOOK_S))
            time.sleep(EVERY_S)


@contextlib.contextmanager
def _page(home: CoordinatorHome, monitor: Monitor) -> Iterator[None]:
    """Show metrics if the settings say so; a page that cannot be is told, and alerts go on without it."""
    settings = home.settings().metrics
    with contextlib.ExitStack() as open_page:
        if settings is not None:
            tls = None
            if settings.client_ca_file is not None:
                ca_file = home.folder / settings.client_ca_file
                tls = MutualTls(
                    key_file=home.tls_key_file, chain_file=home.tls_chain_file, client_ca_file=ca_file
                )
            page = metrics_page(monitor.metrics, listen=settings.listen, port=settings.port, tls=tls)
            try:
                open_page.enter_context(page)
            except ConfigError as error:
                log.error("metrics: %s %s", error.message, error.hint)
        yield


@contextlib.contextmanager
def _traces(home: CoordinatorHome, coordinator: Coordinator) -> Iterator[None]:
    """Send traces if the settings say so; what is in the way is told, and alerts go on without them."""
    settings = home.settings().traces
    with contextlib.ExitStack() as sent:
        if settings is not None:
            try:
                from server.monitoring.traces import Traces, sending

                sent.enter_context(sending(Traces(settings, home, coordinator)))
            except ImportError:
                log.error("traces: not installed. Install `mammofed[server,traces]`.")
            except MammofedError as error:
                log.error("traces: %s %s", error.message, error.hint)
        yield


if __name__ == "__main__":
    follow_supervisor()
    log_to_standard_error()
    own_pulse = Pulse()
    own_pulse.start()
    serve(CoordinatorHome(Path(sys.argv[1])), own_pulse)
