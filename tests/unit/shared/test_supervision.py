"""Supervision of real child processes."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared import supervision
from shared.memory_group import MemoryGroup
from shared.supervision import Program, Supervisor

STEADY = """\
from shared.supervision import follow_supervisor
import time
follow_supervisor()
print("following", flush=True)
"""
ALIVE = """\
import math
import shared.supervision as supervision
supervision.BEAT_EVERY_S = 0.05
pulse = supervision.Pulse()
pulse.start()
pulse.expect(math.inf)
supervision.follow_supervisor()
print("following", flush=True)
import time
"""
FOREVER = "while True:\n    time.sleep(0.05)\n"


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Program]:
    """Makes programs of a few lines; each writes a line with its process id when it starts."""

    def make(name: str, lines: str, **settings: bool) -> Program:
        (tmp_path / f"{name}_program.py").write_text(
            f"import os\nprint('pid', os.getpid(), flush=True)\n{lines}"
        )
        repository = Path(supervision.__file__).resolve().parents[1]
        return Program(
            name=name,
            module=f"{name}_program",
            arguments=["one", "two"],
            environment={"PYTHONPATH": f"{tmp_path}:{repository}", "PATH": os.environ["PATH"]},
            log_file=tmp_path / "logs" / f"{name}.log",
            **settings,
        )

    return make


def pids(program: Program) -> list[int]:
    try:
        lines = program.log_file.read_text().splitlines()
    except FileNotFoundError:
        return []
    return [int(line.split()[1]) for line in lines if line.startswith("pid ")]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for(condition: Callable[[], object], timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_program_runs_with_its_arguments_and_environment_and_its_output_is_kept(program) -> None:
    shown = program("shown", "import sys\nprint(sys.argv[1:], sorted(os.environ)[:2], sys.flags.safe_path)\n")
    supervisor = Supervisor([shown])

    assert supervisor.tend() == ["shown"]
    wait_for(lambda: "two" in shown.log_file.read_text())

    assert "['one', 'two']" in shown.log_file.read_text()
    assert "HOME" not in shown.log_file.read_text()
    assert shown.log_file.read_text().strip().endswith("True")
    assert shown.log_file.parent.stat().st_mode & 0o077 == 0
    supervisor.stop()


def delays_in(caplog: pytest.LogCaptureFixture) -> list[float]:
    """The delays that were logged before programs were started again."""
    return [record.args[2] for record in caplog.records if "starting it again" in record.message]


def test_a_program_that_ends_is_started_again_after_a_growing_delay(
    program, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "FIRST_RESTART_DELAY_S", 0.1)
    monkeypatch.setattr(supervision, "LONGEST_RESTART_DELAY_S", 0.3)
    brief = program("brief", "raise SystemExit(3)\n")
    supervisor, starts = Supervisor([brief]), []

    with caplog.at_level(logging.WARNING):
        while len(starts) < 5:
            if supervisor.tend():
                starts.append(time.monotonic())
            time.sleep(0.005)
    supervisor.stop()

    assert delays_in(caplog) == [0.1, 0.2, 0.3, 0.3]
    waits = [after - before for before, after in itertools.pairwise(starts)]
    assert all(wait >= delay for wait, delay in zip(waits, delays_in(caplog), strict=True))
    assert "brief ended with code 3" in caplog.text


def test_a_program_that_held_for_long_is_started_again_soon(
    program, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "STEADY_AFTER_S", 0.0)
    monkeypatch.setattr(supervision, "FIRST_RESTART_DELAY_S", 0.05)
    brief = program("brief", "")
    supervisor = Supervisor([brief])

    def ended_three_times() -> bool:
        supervisor.tend()
        return len(delays_in(caplog)) >= 3

    wait_for(ended_three_times)
    supervisor.stop()

    assert set(delays_in(caplog)) == {0.05}


def test_one_failing_program_does_not_disturb_another(program) -> None:
    steady, brief = program("steady", STEADY + FOREVER), program("brief", "raise SystemExit(1)\n")
    supervisor = Supervisor([steady, brief])

    def brief_is_back() -> bool:
        supervisor.tend()
        return len(pids(brief)) >= 2

    wait_for(brief_is_back)

    assert len(pids(steady)) == 1
    assert is_alive(pids(steady)[0])
    supervisor.stop()


def test_stop_ends_every_child_even_one_that_does_not_listen(
    program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "TERMINATION_GRACE_S", 0.3)
    deaf = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\n"
    programs = [program("steady", STEADY + FOREVER), program("deaf", deaf + FOREVER)]
    supervisor = Supervisor(programs)
    supervisor.tend()
    wait_for(lambda: pids(programs[0]) and "deaf" in programs[1].log_file.read_text())
    children = [pids(each)[0] for each in programs]

    supervisor.stop()

    assert not any(is_alive(child) for child in children)


@pytest.mark.parametrize("unread_s", [0.0, 1.0])
def test_a_child_ends_when_its_supervisor_is_killed_with_signs_of_life_read_or_unread(
    program, tmp_path: Path, unread_s: float
) -> None:
    programs = [program("first", ALIVE + FOREVER), program("second", ALIVE + FOREVER)]
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from shared.supervision import Program, Supervisor\n"
        "folder = Path(sys.argv[1])\n"
        "supervisor = Supervisor([\n"
        "    Program(name=name, module=f'{name}_program', arguments=[],\n"
        "            environment={'PYTHONPATH': sys.argv[2]}, log_file=folder / 'logs' / f'{name}.log')\n"
        "    for name in ('first', 'second')\n"
        "])\n"
        "while True:\n"
        "    supervisor.tend()\n"
        "    time.sleep(0.05)\n"
    )
    paths = programs[0].environment["PYTHONPATH"]
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), paths], stdin=subprocess.DEVNULL)
    wait_for(
        lambda: all(each.log_file.exists() and "following" in each.log_file.read_text() for each in programs)
    )
    children = [pids(each)[0] for each in programs]

    if unread_s:
        parent.send_signal(signal.SIGSTOP)
        time.sleep(unread_s)
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)

    wait_for(lambda: not any(is_alive(child) for child in children))


def test_a_child_is_in_a_session_of_its_own_so_that_ctrl_c_reaches_the_supervisor_alone(program) -> None:
    steady = program("steady", STEADY + FOREVER)
    supervisor = Supervisor([steady])
    supervisor.tend()
    wait_for(lambda: pids(steady))

    assert os.getsid(pids(steady)[0]) != os.getsid(0)
    supervisor.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "SILENT_AFTER_S", 1.0)
    monkeypatch.setattr(supervision, "FIRST_RESTART_DELAY_S", 0.1)


def tend_until(supervisor: Supervisor, condition: Callable[[], object], timeout_s: float = 15) -> None:
    def tended() -> object:
        supervisor.tend()
        return condition()

    wait_for(tended, timeout_s)


@pytest.mark.usefixtures("impatient")
def test_a_program_that_stands_still_is_ended_and_started_again(program) -> None:
    steady = program("steady", ALIVE + FOREVER, has_pulse=True)
    supervisor = Supervisor([steady])
    tend_until(supervisor, lambda: steady.log_file.exists() and "following" in steady.log_file.read_text())
    end = time.monotonic() + 1.5
    tend_until(supervisor, lambda: time.monotonic() > end)
    (first,) = pids(steady)

    os.kill(first, signal.SIGSTOP)
    tend_until(supervisor, lambda: len(pids(steady)) == 2)

    assert not is_alive(first)
    supervisor.stop()


@pytest.mark.usefixtures("impatient")
def test_a_program_whose_work_takes_longer_than_it_said_is_ended_and_started_again(program) -> None:
    hung = program("hung", ALIVE + "pulse.expect(0.2)\n" + FOREVER, has_pulse=True)
    supervisor = Supervisor([hung])

    tend_until(supervisor, lambda: len(pids(hung)) == 2)

    assert not is_alive(pids(hung)[0])
    supervisor.stop()


def test_a_program_that_cannot_be_started_now_is_started_later(
    program, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "FIRST_RESTART_DELAY_S", 0.1)
    steady = program("steady", STEADY + FOREVER)
    steady.log_file.parent.write_text("where the folder should be")
    supervisor = Supervisor([steady])

    assert supervisor.tend() == []
    assert "cannot be started (File exists)" in caplog.text
    steady.log_file.parent.unlink()
    tend_until(supervisor, lambda: pids(steady))

    supervisor.stop()


def test_a_killed_program_is_started_again_by_the_next_calls(
    program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "FIRST_RESTART_DELAY_S", 0.1)
    orphan, other = program("orphan", STEADY + FOREVER), program("other", STEADY + FOREVER)
    supervisor = Supervisor([orphan, other])
    tend_until(supervisor, lambda: pids(orphan) and pids(other))

    supervisor.kill("orphan")
    tend_until(supervisor, lambda: len(pids(orphan)) == 2)

    assert len(pids(other)) == 1
    supervisor.stop()


def events(folder: Path, num_killed: int) -> None:
    (folder / "memory.events").write_text(f"low 0\noom {num_killed}\noom_kill {num_killed}\n")
    (folder / "memory.max").write_text(str(3 * 2**30))


def test_a_program_that_the_kernel_has_killed_for_want_of_memory_is_told_of_and_started_again(
    program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "FIRST_RESTART_DELAY_S", 0.1)
    greedy, other = program("greedy", STEADY + FOREVER), program("other", STEADY + FOREVER)
    events(tmp_path, 4)
    supervisor = Supervisor([greedy, other], MemoryGroup(tmp_path))
    tend_until(supervisor, lambda: pids(greedy) and pids(other))
    assert supervisor.short_of_memory(time.monotonic()) == ""

    events(tmp_path, 5)
    os.kill(pids(greedy)[0], signal.SIGKILL)
    tend_until(supervisor, lambda: len(pids(greedy)) == 2)
    said = supervisor.short_of_memory(time.monotonic())
    os.kill(pids(other)[0], signal.SIGKILL)
    tend_until(supervisor, lambda: len(pids(other)) == 2)

    assert "The kernel has ended the greedy for want of memory; the service may have 3.0 GiB." in said
    assert said in caplog.text
    assert supervisor.short_of_memory(time.monotonic()) == said
    an_hour_later = time.monotonic() + supervision.SHORT_OF_MEMORY_FOR_S
    assert supervisor.short_of_memory(an_hour_later) == ""
    supervisor.stop()
