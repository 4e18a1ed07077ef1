"""Whatever an item does to the process that works on it, every other item has its result, in order."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.intake.workers import Failure, Workers
from shared.errors import ConfigError


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


def test_a_process_that_is_ended_while_it_waits_costs_no_item() -> None:
    with Workers(work, number=1) as workers:
        results = workers.map(["process", *"abcdefgh"])
        task, process = next(results)
        assert isinstance(process, str)
        # Nothing is asked of it between two calls, so it waits, or has its next result ready.
        time.sleep(0.3)
        os.kill(int(process), signal.SIGKILL)
        wait_until_gone(int(process))
        left = list(results)
    assert task == "process"
    assert [one for one, _ in left] == list("abcdefgh")
    assert sum(result is Failure.DIED for _, result in left) == 0


def wait_until_gone(process: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_there_may_be_no_item_at_all() -> None:
    assert outcomes([]) == []


SCRIPT = """
from slow import work
from client.intake.workers import Workers

if __name__ == "__main__":
    try:
        with Workers(work, number=1) as workers:
            print([result for _, result in workers.map([1, 2])])
    except KeyboardInterrupt:
        print("interrupted")
"""


def script(folder: Path, import_s: float) -> dict[str, str]:
    """The environment of the script, with a function whose module takes its time to import."""
    (folder / "slow.py").write_text(
        f"import time\ntime.sleep({import_s})\ndef work(item): return str(item)\n"
    )
    here = Path(__file__).parents[4]
    return {**os.environ, "PYTHONPATH": f"{folder}:{here}", "PYTHONDONTWRITEBYTECODE": "1"}


def test_a_machine_with_a_lower_limit_on_memory_still_works(tmp_path: Path) -> None:
    ended = subprocess.run(
        ["bash", "-c", 'ulimit -v 5000000; exec "$0" -c "$1"', sys.executable, SCRIPT],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=script(tmp_path, 0),
    )
    assert ended.stdout == "['1', '2']\n", ended.stderr


def end_at_once(_function: object, _pipe: object) -> None:
    """What a process does on a machine that lets none of ours work."""
    os._exit(1)


def test_a_machine_on_which_no_process_can_work_is_told_and_no_item_is_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("client.intake.workers._work", end_at_once)
    with pytest.raises(ConfigError, match="cannot start"), Workers(work, number=1) as workers:
        list(workers.map(["a"]))


@pytest.mark.parametrize("after_s", [0.0, 0.5])
def test_an_interrupt_while_processes_start_shows_nobody_where_we_are_installed(
    tmp_path: Path, after_s: float
) -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env=script(tmp_path, 3.0),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    deadline = time.monotonic() + 60
    while "forkserver" not in "".join(map(command_of, children.read_text().split())):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(after_s)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (out, err) == ("interrupted\n", "")


def command_of(process: str) -> str:
    return Path(f"/proc/{process}/cmdline").read_text()
