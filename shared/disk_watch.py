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

WHAT_TO_DO = "Free space on it; until then work may wait."


class DiskWatch:
    """Looks at the disk that holds a home folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._is_low = False

    def look(self) -> str:
        """Look now and log what has changed; returns what is the matter, nothing if the disk is well."""
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            log.warning("the disk of the home folder cannot be looked at: %s", error.strerror)
            return ""
        was_low, self._is_low = self._is_low, is_low(free, was_low=self._is_low)
        told = f"The disk of the home folder has {free >> 20} MiB left. " + WHAT_TO_DO
        if self._is_low and not was_low:
            log.error("%s", told)
        elif was_low and not self._is_low:
            log.info("The disk of the home folder has space again")
        return told if self._is_low else ""


def is_low(free_bytes: int, *, was_low: bool) -> bool:
    """Whether too little is free, given what was found the time before."""
    return free_bytes < (ENOUGH_FREE_BYTES if was_low else LEAST_FREE_BYTES)
