"""Whether the coordinator's clock can be believed: its sites say so by the times that they sign.

While it cannot, sites are refused for times that are right, and deadlines and the presence of nodes mean
nothing: runs wait until the clock is mended. The judgement stands in the audit log, where every process of
the coordinator finds it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection

from server.store import AuditLog
from server.store.audit import COORDINATOR
from shared.audit.events import ClockJudged
from shared.errors import ClockError

MOST_AHEAD_S, MOST_BEHIND_S = 5.0, 305.0
"""How far a site's signed time may lie from the coordinator's clock for Flower to hear its node."""

STEP_S = 5.0
RIGHT, AHEAD, BEHIND = "right", "ahead", "behind"


def agrees(site_ahead_s: float) -> bool:
    """Whether a site with this clock is heard."""
    return -MOST_BEHIND_S < site_ahead_s < MOST_AHEAD_S


def judge(sites_ahead_s: Collection[float]) -> float | None:
    """How far this clock is ahead of the sites', in seconds: 0 if most agree with it, None if untold.

    One site alone is not believed against this clock, nor are sites that do not agree with each other.

    Parameters
    ----------
    sites_ahead_s
        How far the clock of each site that was heard of lately is ahead of this one, in seconds.
    """
    if 2 * sum(map(agrees, sites_ahead_s)) > len(sites_ahead_s):
        return 0.0
    if len(sites_ahead_s) < 2:
        return None
    middle = statistics.median_low(sites_ahead_s)
    alike = sum(abs(each - middle) < MOST_BEHIND_S for each in sites_ahead_s)
    return -middle if not agrees(middle) and 2 * alike > len(sites_ahead_s) else None


class Clock:
    """What is held of the clock of this machine."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def note(self, ahead_s: float, *, now: float) -> None:
        """Write down by how much it is wrong, 0 if it is right, unless that is what is held already."""
        standing = RIGHT if not ahead_s else AHEAD if ahead_s > 0 else BEHIND
        held, off_s = self._held()
        if standing != held or abs(abs(ahead_s) - off_s) > MOST_BEHIND_S:
            event = ClockJudged(subject=COORDINATOR, standing=standing, off_s=round(abs(ahead_s)))
            self._log.append(event, actor=COORDINATOR, at=now)

    def contradicts_own_records(self, *, now: float) -> bool:
        """Take a clock for wrong that is behind the audit log, until the sites tell."""
        behind_s = (self._log.latest_at() or now) - now
        if behind_s <= MOST_BEHIND_S:
            return False
        self.note(-behind_s, now=now)
        return True

    def trouble(self) -> str:
        """One line that says how wrong it is; empty if it is right."""
        standing, off_s = self._held()
        if standing == RIGHT:
            return ""
        of_whom = "ahead of its sites'" if standing == AHEAD else "behind its sites' or its own records"
        return f"The coordinator's clock is {off_s} seconds {of_whom}."

    def require_right(self) -> None:
        """Return only if it is not known to be wrong. Raises ClockError."""
        if trouble := self.trouble():
            raise ClockError(trouble, "Set it, best by NTP; runs wait, and go on by themselves after that.")

    def _held(self) -> tuple[str, int]:
        line = self._log.last(ClockJudged, subject=COORDINATOR)
        if line is None:
            return RIGHT, 0
        return str(line.details["standing"]), int(str(line.details["off_s"]))


def time_since_boot() -> float:
    """Seconds that no setting of the clock changes, and that go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Steadiness:
    """Notices that the clock was set since this was made: what was measured by it then is void."""

    def __init__(
        self, clock: Callable[[], float] = time.time, steady: Callable[[], float] = time_since_boot
    ) -> None:
        self._clock, self._steady = clock, steady
        self._began = clock() - steady()

    def require(self) -> None:
        """Return only if it was not. Raises ClockError."""
        step_s = self._clock() - self._steady() - self._began
        if abs(step_s) > STEP_S:
            raise ClockError(
                f"The coordinator's clock was set by {step_s:+.0f} seconds in the middle of a round.",
                "The round begins anew. The clock is best kept by NTP.",
            )
