"""What the training process is at, in a file that `status` and the page read; a note, not a record."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from shared.errors import StoreError
from shared.files import write_file
from shared.records import Occasion

WRITE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """An announcement that is being answered.

    Attributes
    ----------
    step, num_steps
        Of the training; 0 of 0 before it.
    begun_at
        Seconds since the Unix epoch.
    """

    run_id: str
    round_number: int
    phase: str
    begun_at: float
    step: int = 0
    num_steps: int = 0


class WorkNote:
    """The note of one home."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._work: Work | None = None
        self._written_at = 0.0
        file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def working(self, occasion: Occasion) -> Iterator[None]:
        """Note that an announcement is being answered, until the block is left."""
        self._work = Work(
            run_id=occasion.run_id,
            round_number=occasion.round_number,
            phase=occasion.phase.value,
            begun_at=time.time(),
        )
        self._write()
        try:
            yield
        finally:
            self._work = None
            self._file.unlink(missing_ok=True)

    def step(self, number: int, num_steps: int) -> None:
        """Note how far the training is; written at most once a second."""
        if self._work is not None:
            self._work = replace(self._work, step=number, num_steps=num_steps)
            if time.monotonic() - self._written_at > WRITE_EVERY_S:
                self._write()

    def _write(self) -> None:
        self._written_at = time.monotonic()
        assert self._work is not None
        with contextlib.suppress(StoreError):  # a disk that refuses costs a note, not the round
            write_file(self._file, json.dumps(asdict(self._work)).encode(), is_durable=False)


def read_work(file: Path) -> Work | None:
    """What is noted; None if nothing is being answered."""
    try:
        return Work(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
