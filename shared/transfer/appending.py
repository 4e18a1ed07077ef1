"""Writing what arrives while the next of it is on its way: one thread receives, another writes and hashes."""

from __future__ import annotations

import queue
import threading
from types import TracebackType

from shared.transfer.partial_blob import PartialBlob

BLOCKS_BEHIND = 8
"""Blocks that may wait to be written; then receiving waits."""


class Appending:
    """Appends blocks to an unfinished blob, in their order, in a thread of its own while it is entered.

    Left without an error, all of them are written. What the disk or the blob refuses is raised by the next
    `append`, or at the end.
    """

    def __init__(self, partial: PartialBlob) -> None:
        self._partial = partial
        self._blocks = queue.Queue[bytes | None](BLOCKS_BEHIND)
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="appending", daemon=True)

    def __enter__(self) -> Appending:
        self._thread.start()
        return self

    def append(self, block: bytes) -> None:
        """Have a block written. Raises as `PartialBlob.append` does, of an earlier one."""
        if self._failure is not None:
            raise self._failure
        self._blocks.put(block)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What has come before a line broke is written, too: the next attempt goes on after it.
        self._blocks.put(None)
        self._thread.join()
        if self._failure is not None and self._failure is not error:
            raise self._failure

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            if self._failure is None:
                try:
                    self._partial.append(block)
                except Exception as error:  # noqa: BLE001 - raised by the thread that receives
                    self._failure = error
