"""Whatever an item does to the process that works on it, every other item has its result, in order."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.intake.workers import Failure, Workers


def work(task: str) -> str:
    """What a task asks for; the tests' own words."""
    match task.split():
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["crash"]:
            ctypes.string_at(0)
        case ["leave"]:
            os._exit(0)
        case ["raise"]:
            raise ValueError(task)
        case ["grow"]:
            bytearray(1 << 40)
        case ["large", megabytes]:
            return "x" * (int(megabytes) << 20)
        case ["process"]:
            return str(os.getpid())
    return task


def outcomes(tasks: list[str], *, number: int = 2, timeout_s: float = 20.0) -> list[str | Failure]:
    with Workers(work, number=number, timeout_s=timeout_s) as workers:
        results = list(workers.map(tasks))
    assert [task for task, _ in results] == tasks
    return [result for _, result in results]


def test_results_come_in_the_order_of_the_items_though_the_first_is_slowest() -> None:
    assert outcomes(["sleep 0.3", "b", "c", "d", "e", "f"]) == ["sleep 0.3", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize("blow", ["crash", "leave", "raise", "grow"])
def test_an_item_that_ends_its_process_costs_itself_alone(blow: str) -> None:
    assert outcomes(["a", blow, blow, blow, "e"]) == ["a", *[Failure.DIED] * 3, "e"]


def test_an_item_that_hangs_is_given_up_and_its_process_ended() -> None:
    began = time.monotonic()

    assert outcomes(["sleep 300", "b", "c"], timeout_s=3.0) == [Failure.TOO_SLOW, "b", "c"]

    assert time.monotonic() - began < 60


def test_a_result_larger_than_a_pipe_comes_through() -> None:
    (large,) = outcomes(["large 20"])
    assert len(large) == 20 << 20


def test_items_are_taken_no_further_ahead_than_a_few_per_process() -> None:
    taken: list[int] = []

    def items() -> Iterator[str]:
        for number in range(50):
            taken.append(number)
            yield str(number)

    with Workers(work, number=2) as workers:
        for count, _ in enumerate(workers.map(items()), start=1):
            assert len(taken) <= count + 4


def test_no_process_is_left_behind_when_the_caller_stops_early() -> None:
    with Workers(work, number=2) as workers:
        results = workers.map(["process", "process", "sleep 60", "sleep 60"])
        processes = {int(next(results)[1]), int(next(results)[1])}
    assert not [process for process in processes if Path(f"/proc/{process}").exists()]


def test_there_may_be_no_item_at_all() -> None:
    assert outcomes([]) == []
