"""What is written down of refused calls: enough to see who knocks, too little to fill a disk."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

logger = logging.getLogger(__name__)

TELL_EVERY_S = 60.0
MAX_KINDS = 1000
"""Of caller and reason, remembered at one time; a member can make no more names than its own."""


@dataclass(slots=True)
class _Told:
    at: float
    untold: int = 0


class Refusals:
    """Tells of each caller's refusals once a minute and reason, with how many were not told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], _Told] = {}

    def note(self, caller: str, reason: str, *, now: float) -> None:
        """Write a line, or count for the next one.

        Parameters
        ----------
        caller
            A site as its certificate names it, or words for somebody without one.
        reason
            A stable word of ours.
        now
            Seconds of a clock that only goes forward.
        """
        with self._lock:
            told = self._told.get((caller, reason))
            if told is not None and now - told.at < TELL_EVERY_S:
                told.untold += 1
                return
            if len(self._told) >= MAX_KINDS:
                self._told.clear()
            self._told[(caller, reason)] = _Told(now)
        more = f", and {told.untold} more before it" if told is not None and told.untold else ""
        logger.warning("A call of %s was refused: %s%s", caller, reason, more)
