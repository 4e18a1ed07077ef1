"""What tarfile reads an archive through, so that an archive cannot lead it astray.

A tar's headers say how far to go and how much to read. Through this they can lead forward only, which ends
every circle; no single read can fill the memory; and the whole of what is read, headers and skipped members
included, is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from shared.errors import IntakeError

CHUNK_BYTES = 1 << 20
MAX_READ_BYTES = 4 << 20
"""tarfile reads a long name or an extended header at once; those of real archives have less than 1 MiB."""


class ForwardReader:
    """A stream with the part of a file's interface that tarfile needs.

    Parameters
    ----------
    stream
        Decompressed already.
    limit_bytes
        More than this is not read.
    beyond, astray
        Make the error for an archive that exceeds the limit, and for one that leads back or asks too much.
    """

    def __init__(
        self,
        stream: IO[bytes],
        limit_bytes: int,
        *,
        beyond: Callable[[], IntakeError],
        astray: Callable[[], IntakeError],
    ) -> None:
        self._stream = stream
        self._limit_bytes = limit_bytes
        self._beyond = beyond
        self._astray = astray
        self._position = 0
        self._last = b""

    @property
    def last_read(self) -> bytes:
        """What the latest read gave."""
        return self._last

    def tell(self) -> int:
        """Bytes read so far."""
        return self._position

    def read(self, size: int) -> bytes:
        """Read so many bytes, fewer only at the end."""
        if not 0 <= size <= MAX_READ_BYTES:
            raise self._astray()
        self._last = self._stream.read(size)
        self._position += len(self._last)
        if self._position > self._limit_bytes:
            raise self._beyond()
        return self._last

    def seek(self, position: int) -> None:
        """Go forward."""
        if position < self._position:
            raise self._astray()
        while self._position < position and self.read(min(position - self._position, CHUNK_BYTES)):
            pass
