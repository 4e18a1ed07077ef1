"""How long a broken line to an archive is outlasted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from client.pacs.archive import ConnectionLostError

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """When to try again.

    Attributes
    ----------
    attempts
        In a row without any success, the first included.
    first_delay_s
        Longest wait before the second attempt; doubles with each fruitless one.
    max_delay_s
        Longest wait of all.
    """

    attempts: int = 5
    first_delay_s: float = 1.0
    max_delay_s: float = 30.0


class Patience:
    """What is left of it."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._jitter = random.SystemRandom()
        self._fruitless = 0

    def renew(self) -> None:
        """Something has succeeded: start counting afresh."""
        self._fruitless = 0

    def spend(self, error: ConnectionLostError) -> None:
        """Wait before the next attempt, between half and all of the delay, or raise the error for good."""
        self._fruitless += 1
        if self._fruitless >= self._retries.attempts:
            raise error
        longest = min(self._retries.first_delay_s * 2 ** (self._fruitless - 1), self._retries.max_delay_s)
        time.sleep(longest * self._jitter.uniform(0.5, 1.0))

    def persist(self, ask: Callable[[], Answer]) -> Answer:
        """Ask until there is an answer. Raises PacsError when patience ends or the archive refuses."""
        while True:
            try:
                answer = ask()
            except ConnectionLostError as error:
                self.spend(error)
            else:
                self.renew()
                return answer
