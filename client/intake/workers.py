"""Processes that work through items in order; one that dies, hangs or grows costs its item and nothing else.

A damaged file can make a decoder crash, run for ever or ask for all memory. Here that ends a process of ours
and becomes an outcome of that one item.

- Items go out in order, never further ahead than a small window, so memory does not depend on their number.
- Processes are forked from a server that has imported what they need and nothing else, so that a new one
  costs milliseconds and holds none of the caller's files, locks or threads.
- A process says that it is ready before it gets an item. One that ends before it is says nothing against the
  item: this machine does not let us work, and the caller is told so.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

from shared.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")

TIMEOUT_S = 60.0
"""The largest mammograms are done in a few seconds."""
MEMORY_BYTES = 6 << 30
"""Address space of a process; the largest mammogram needs a tenth of it."""
START_S = 120.0
"""Until a process is ready at the latest, on a machine that does much else."""
READY = b"ready"
AHEAD = 2
"""Items per process that may be under way or waiting to be taken."""

_context = multiprocessing.get_context("forkserver")


class Failure(StrEnum):
    """Why an item has no result."""

    DIED = "died"
    TOO_SLOW = "too slow"


@dataclass(slots=True)
class _Worker:
    process: ForkServerProcess
    pipe: Connection
    position: int | None = None
    deadline: float = 0.0


@dataclass(slots=True)
class Workers(Generic[Item, Result]):
    """Processes that apply one function; use as a context manager.

    Attributes
    ----------
    function
        Importable by name; takes a picklable item, gives a picklable result. An exception that it raises ends
        its process, so it should return its own errors.
    number
        Processes at the most; 0 for one per core.
    timeout_s
        A process that works longer on one item is ended.
    """

    function: Callable[[Item], Result]
    number: int = 0
    timeout_s: float = TIMEOUT_S
    _workers: list[_Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.number = self.number or len(os.sched_getaffinity(0))
        _context.set_forkserver_preload(["__main__", self.function.__module__])

    def __enter__(self) -> Workers[Item, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            _end(worker)
        self._workers.clear()

    def map(self, items: Iterable[Item]) -> Iterator[tuple[Item, Result | Failure]]:
        """Each item with its result, in the order of the items.

        Raises
        ------
        ConfigError
            No process can be started here.
        """
        source = iter(enumerate(items))
        waiting: deque[tuple[int, Item]] = deque()  # handed out, not yet given back; in order
        done: dict[int, Result | Failure] = {}
        exhausted = False
        while not exhausted or waiting:
            while not exhausted and len(waiting) < AHEAD * self.number and self._has_room():
                position, item = next(source, (-1, None))
                if item is None:
                    exhausted = True
                    break
                waiting.append((position, item))
                self._hand_out(position, item)
            if waiting and waiting[0][0] not in done:
                done.update(self._collect())
            while waiting and waiting[0][0] in done:
                position, item = waiting.popleft()
                yield item, done.pop(position)

    def _has_room(self) -> bool:
        busy = sum(worker.position is not None for worker in self._workers)
        return busy < self.number

    def _hand_out(self, position: int, item: Item) -> None:
        """Give an item to a process that waits for one, or to a new one."""
        while True:
            idle = next((worker for worker in self._workers if worker.position is None), None)
            worker = idle or self._start()
            try:
                worker.pipe.send(item)
            except OSError:  # something ended it while it waited: the item is not to blame
                self._workers.remove(worker)
                _end(worker)
                continue
            worker.position, worker.deadline = position, time.monotonic() + self.timeout_s
            return

    def _start(self) -> _Worker:
        ours, theirs = _context.Pipe()
        process = _context.Process(target=_work, args=(self.function, theirs), daemon=True)
        try:
            # Nor may an interrupt end this between the fork and what the child reads first from us.
            with _interrupt_kept_from_children():
                forkserver.ensure_running()
                process.start()
            theirs.close()
            if not ours.poll(START_S) or ours.recv() != READY:
                raise EOFError
        except (EOFError, OSError) as error:
            ours.close()
            if process.pid is not None:
                process.kill()
            raise ConfigError(
                "The processes that read images cannot start or are ended at once on this machine.",
                "Raise its limits on memory and processes (`ulimit -v`, `ulimit -u`), or set fewer `workers` "
                "in [intake] of site.toml.",
            ) from error
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]

    def _collect(self) -> dict[int, Result | Failure]:
        """Wait until something is done, or somebody's time is over."""
        busy = {worker.pipe: worker for worker in self._workers if worker.position is not None}
        first = min(worker.deadline for worker in busy.values())
        ready = wait(list(busy), max(0.0, first - time.monotonic()))
        done: dict[int, Result | Failure] = {}
        for pipe, worker in busy.items():
            position = worker.position
            assert position is not None
            if pipe in ready:
                try:
                    done[position] = pipe.recv()
                    worker.position = None
                    continue
                except (EOFError, OSError):
                    done[position] = Failure.DIED
            elif worker.deadline <= time.monotonic():
                done[position] = Failure.TOO_SLOW
            else:
                continue
            self._workers.remove(worker)
            _end(worker)
        return done


def _end(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.process.close()
    worker.pipe.close()


def _work(function: Callable[[Any], Any], pipe: Connection) -> None:
    """Take items until the other end is closed; an interrupt from the terminal is the caller's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory()
    # A decoder that dies may say on standard error what it was reading.
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    with contextlib.suppress(EOFError, BrokenPipeError):
        pipe.send(READY)
        while True:
            pipe.send(function(pipe.recv()))


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


@contextlib.contextmanager
def _interrupt_kept_from_children() -> Iterator[None]:
    """Ctrl-C reaches every process of the terminal: one that still imports would answer with file names."""
    resource_tracker.ensure_running()  # it is started on the way, and would let interrupts in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
