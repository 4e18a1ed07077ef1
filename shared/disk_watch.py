"""Tells once of a disk that is about to be full, and once that it is well again."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

log = logging.getLogger(__name__)

LEAST_FREE_BYTES = 1 << 30
"""Below this it is told; some twenty rounds of a large model still fit."""

ENOUGH_FREE_BYTES = 2 * LEAST_FREE_BYTES
"""From here on it is well again: the gap keeps a disk at the edge from being told of each second."""


class DiskWatch:
    """Looks at the disk that holds a home folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_low = False

    def look(self) -> None:
        """Look now, and log what has changed since the last look."""
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            log.warning("the disk of the home folder cannot be looked at: %s", error.strerror)
            return
        if is_low(free, was_low=self._is_low) is self._is_low:
            return
        self._is_low = not self._is_low
        if self._is_low:
            log.error(
                "The disk of the home folder has %d MiB left. Free space on it; until then work may wait.",
                free >> 20,
            )
        else:
            log.info("The disk of the home folder has space again")


def is_low(free_bytes: int, *, was_low: bool) -> bool:
    """Whether too little is free, given what was found the time before."""
    return free_bytes < (ENOUGH_FREE_BYTES if was_low else LEAST_FREE_BYTES)
