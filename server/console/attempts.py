"""How many tries a thing gets within a span of time; time enters as an argument."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable


class Attempts:
    """Counts tries by key, in memory; safe to call from several threads.

    Parameters
    ----------
    most
        Tries that a key has within any `within_s` seconds.
    """

    def __init__(self, most: int, within_s: float) -> None:
        self._most = most
        self._within_s = within_s
        self._tried: dict[Hashable, deque[float]] = {}
        self._lock = threading.Lock()

    def take(self, key: Hashable, *, now: float) -> bool:
        """Whether the key has a try left at this time, which is then taken."""
        with self._lock:
            self._forget_old(now)
            tried = self._tried.setdefault(key, deque())
            if len(tried) >= self._most:
                return False
            tried.append(now)
            return True

    def give_back(self, key: Hashable) -> None:
        """The last try that was taken does not count."""
        with self._lock:
            if tried := self._tried.get(key):
                tried.pop()

    def _forget_old(self, now: float) -> None:
        for key, tried in list(self._tried.items()):
            while tried and tried[0] <= now - self._within_s:
                tried.popleft()
            if not tried:
                del self._tried[key]
