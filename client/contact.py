"""When the coordinator last answered the running site, and what is in the way, for `status` and the page."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from shared.errors import StoreError
from shared.files import write_file

WRITE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How the running site stands with its coordinator.

    Attributes
    ----------
    answered_at
        Of its last answer, in seconds since the Unix epoch; None before the first.
    troubles
        What is in the way, in sentences.
    """

    answered_at: float | None
    troubles: tuple[str, ...]


class ContactNote:
    """Written by the running site's threads, each about what it asks."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        kept = read_contact(file)
        self._answered_at = kept.answered_at if kept else None
        self._troubles: dict[str, str] = {}
        self._written_at = 0.0

    def answered(self, asker: str) -> None:
        """The coordinator has answered one of these threads, and nothing is wrong there."""
        with self._lock:
            self._answered_at = time.time()
            if self._troubles.pop(asker, None) or time.monotonic() - self._written_at > WRITE_EVERY_S:
                self._write()

    def troubled(self, asker: str, trouble: str) -> None:
        """Something is in one thread's way."""
        with self._lock:
            if self._troubles.get(asker) != trouble:
                self._troubles[asker] = trouble
                self._write()

    def note(self, of: str, trouble: str) -> None:
        """What is the matter with something of this machine; nothing if it is empty."""
        if trouble:
            self.troubled(of, trouble)
            return
        with self._lock:
            if self._troubles.pop(of, None):
                self._write()

    def _write(self) -> None:
        self._written_at = time.monotonic()
        troubles = sorted(set(self._troubles.values()))
        document = {"answered_at": self._answered_at, "troubles": troubles}
        with contextlib.suppress(StoreError):
            write_file(self._file, json.dumps(document).encode(), is_durable=False)


def read_contact(file: Path) -> Contact | None:
    """What is noted; None if no site has run here yet."""
    try:
        document = json.loads(file.read_bytes())
        answered_at = document["answered_at"]
        return Contact(
            answered_at=None if answered_at is None else float(answered_at),
            troubles=tuple(str(each) for each in document["troubles"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
