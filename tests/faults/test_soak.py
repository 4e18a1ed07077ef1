"""Three sites, a fault every minute, for as long as the soak lasts: every planned round is done, memory and
open files stay flat, and no process is left as a zombie.

`make soak` lasts an hour; `make faults` has a short form, too short to judge slopes, which it reports only.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import random
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from client.home import SiteHome
from deploy.demo.federation import CommandError, Role
from tests.e2e.small_federation import (
    SUPERNODE,
    SmallFederation,
    build,
    processes_of,
    running,
    shared_hospitals,
)
from tests.faults.line import Line, line_of
from tests.faults.test_killed_coordinator import kill_coordinator
from tests.faults.test_killed_site import EXECUTOR, RUNNER, SUPERLINK

log = logging.getLogger(__name__)

MINUTES = float(os.environ.get("SOAK_MINUTES", "4"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
JUDGED_FROM_MINUTES = 30.0
pytestmark = [pytest.mark.long, pytest.mark.timeout(60 * (MINUTES + 20))]

ROUNDS = 25 if MINUTES >= JUDGED_FROM_MINUTES else 10
LAUNCH_S = 120.0
FAULT_EVERY_S, SAMPLE_EVERY_S = 60.0, 5.0
WARM_AFTER_S = 180.0
"""A process grows in its first rounds; its samples count from then on."""

MOST_GROWTH_MIB_PER_HOUR, MOST_FILES_PER_HOUR = 64.0, 8.0
KILL = signal.SIGKILL
MIB = 1 << 20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True, kw_only=True)
class Meter:
    """Memory and open files of every process of a federation, sampled; and whoever is seen as a zombie."""

    federation: SmallFederation
    samples: dict[str, dict[int, list[tuple[float, float, int]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    zombies: dict[int, float] = field(default_factory=dict)

    def sample(self, now: float) -> None:
        """Look at every process once."""
        seen_dead = set()
        for role in self.federation.roles:
            for process_id in processes_of(role.home):
                with contextlib.suppress(OSError, IndexError):
                    self._look(process_id, role, now)
        for process_id in _zombies(os.getpid(), self._roots()):
            seen_dead.add(process_id)
            self.zombies.setdefault(process_id, now)
        self.zombies = {each: since for each, since in self.zombies.items() if each in seen_dead}

    def _look(self, process_id: int, role: Role, now: float) -> None:
        place = Path("/proc") / str(process_id)
        started = int((place / "stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        if time.clock_gettime(time.CLOCK_BOOTTIME) - started < WARM_AFTER_S:
            return
        words = (place / "cmdline").read_bytes().decode().split("\0")
        module = next((word for word in words if ".flower." in word), "service")
        memory = int((place / "statm").read_text().split()[1]) * PAGE_BYTES / MIB
        side = "coordinator" if role is self.federation.coordinator else "site"
        files = len(list((place / "fd").iterdir()))
        self.samples[f"{side} {module.rpartition('.')[2]}"][process_id].append((now, memory, files))

    def _roots(self) -> set[int]:
        return {role.process.pid for role in self.federation.roles if role.process is not None}

    def slopes(self) -> Iterator[Slopes]:
        """What each kind of process needs, and how that grows.

        Growth is that within processes: whoever follows a killed one begins anew. Its standard error takes
        each process for one observation (Liang and Zeger, Biometrika 73, 1986): samples that follow each
        other tell little anew, and what a process takes at a step shows in none of the others.
        """
        for kind, of_process in sorted(self.samples.items()):
            tables = [np.array(rows, float) for rows in of_process.values()]
            if sum(map(len, tables)) < 10:
                continue
            within = [table - table.mean(axis=0) for table in tables]
            _, mean_memory, mean_files = np.concatenate(tables).mean(axis=0)
            yield Slopes(
                kind=kind,
                num_processes=len(tables),
                num_samples=sum(map(len, tables)),
                memory_mib=float(mean_memory),
                memory_growth=_growth([(table[:, 0], table[:, 1]) for table in within]),
                files=float(mean_files),
                files_growth=_growth([(table[:, 0], table[:, 2]) for table in within]),
            )


Growth: TypeAlias = tuple[float, float]
"""An hour, and its standard error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slopes:
    """What one kind of process needs on average, and the growth of it."""

    kind: str
    num_processes: int
    num_samples: int
    memory_mib: float
    memory_growth: Growth
    files: float
    files_growth: Growth

    @property
    def text(self) -> str:
        """One line."""
        (memory, memory_error), (files, files_error) = self.memory_growth, self.files_growth
        return (
            f"{self.kind:24s} {self.num_processes:3d} processes, {self.num_samples:5d} samples, "
            f"{self.memory_mib:6.0f} MiB {memory:+7.1f} +- {memory_error:.1f} an hour, "
            f"{self.files:4.0f} files {files:+5.1f} +- {files_error:.1f} an hour"
        )


def _growth(within: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Growth:
    """Of one column over the time, both less their means in each process."""
    spread = sum(float(at @ at) for at, _ in within)
    slope = sum(float(at @ column) for at, column in within) / spread
    error = math.sqrt(sum(float(at @ (column - slope * at)) ** 2 for at, column in within)) / spread
    return 3600 * slope, 3600 * error


def surely(growth: Growth) -> float:
    """How much it is at the least, but for a chance of 2 %."""
    slope, error = growth
    return slope - 2 * error


def _zombies(own: int, roots: set[int]) -> Iterator[int]:
    """Dead processes that nobody has waited for, below these roots or this process."""
    parents = {}
    dead = set()
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                state, parent = (place / "stat").read_text().rpartition(")")[2].split()[:2]
                parents[int(place.name)] = int(parent)
                if state == "Z":
                    dead.add(int(place.name))
    for process_id in dead:
        above = parents.get(process_id, 0)
        while above and above not in roots and above != own:
            above = parents.get(above, 0)
        if above:
            yield process_id


def faults_of(
    federation: SmallFederation, line: Line, rng: random.Random
) -> Mapping[str, Callable[[], None]]:
    """What may happen, by name; each leaves the federation to mend itself, or undoes itself at once."""
    sites = list(federation.sites.values())

    def kill(module: str, role: Role) -> None:
        for process_id in processes_of(role.home, module):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, KILL)

    def stand_still() -> None:
        for process_id in processes_of(rng.choice(sites).home, rng.choice([SUPERNODE, EXECUTOR])):
            os.kill(process_id, signal.SIGSTOP)

    def kill_site() -> None:
        role = rng.choice(sites)
        role.kill()
        role.start()

    def stop_site() -> None:
        role = rng.choice(sites)
        role.stop()
        role.start()

    def restart_coordinator() -> None:
        kill_coordinator(federation)
        federation.coordinator.start()

    def cut() -> None:
        line.is_cut = True
        time.sleep(20)
        line.mend()

    def balancer() -> None:
        line.is_closing = True
        line.drop_all()
        time.sleep(10)
        line.mend()

    return {
        "executor killed": lambda: kill(EXECUTOR, rng.choice(sites)),
        "SuperNode killed": lambda: kill(SUPERNODE, rng.choice(sites)),
        "a process of a site stands still": stand_still,
        "site loses its power": kill_site,
        "site is stopped and started": stop_site,
        "SuperLink killed": lambda: kill(SUPERLINK, federation.coordinator),
        "runner killed": lambda: kill(RUNNER, federation.coordinator),
        "coordinator loses its power": restart_coordinator,
        "line cut for 20 s": cut,
        "balancer accepts and closes for 10 s": balancer,
    }


@pytest.fixture
def federation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SmallFederation]:
    """One of its own: the session's would carry the soak's past into other tests."""
    hospitals = shared_hospitals(request.config, tmp_path_factory)
    with running(build(tmp_path_factory.mktemp("soak"), hospitals)) as federation:
        yield federation


def test_a_federation_under_a_fault_each_minute_does_every_round_and_does_not_grow(
    federation: SmallFederation, tmp_path: Path
) -> None:
    rng, meter, over = random.Random(SEED), Meter(federation=federation), threading.Event()
    happened: list[str] = []
    could_not: list[str] = []
    behind = federation.sites["hospital-coast"]
    behind.stop()
    with line_of([SiteHome(behind.home)]) as line:
        behind.start()
        faults = faults_of(federation, line, rng)

        def disturb() -> None:
            while not over.wait(FAULT_EVERY_S):
                name = rng.choice(sorted(faults))
                log.info("%s", name)
                happened.append(name)
                try:
                    faults[name]()
                except Exception as error:
                    log.exception("%s", name)
                    could_not.append(f"{name}: {error}")

        def measure() -> None:
            while not over.wait(SAMPLE_EVERY_S):
                meter.sample(time.monotonic())

        threads = [threading.Thread(target=each, daemon=True) for each in (disturb, measure)]
        for thread in threads:
            thread.start()
        shown: list[dict[str, object]] = []
        end = time.monotonic() + 60 * MINUTES
        while time.monotonic() < end:
            plan = federation.write_plan(f"soak-{len(shown)}", rounds=ROUNDS, timeout_s=120)
            shown.append(finish_through_outages(federation, launch_when_up(federation, plan)))
        over.set()
        for thread in threads:
            thread.join(120)
        line.mend()
        behind.stop()
    behind.start()

    report = {
        "minutes": MINUTES,
        "seed": SEED,
        "faults": happened,
        "runs": [(each["state"], each["num_finished"]) for each in shown],
        "processes": [asdict(each) for each in meter.slopes()],
    }
    (tmp_path / "soak.json").write_text(json.dumps(report, indent=2))
    for each in meter.slopes():
        log.info("%s", each.text)
    log.info("%d runs, %d rounds, %d faults", len(shown), ROUNDS * len(shown), len(happened))
    assert [(each["state"], each["num_finished"]) for each in shown] == [("finished", ROUNDS)] * len(shown)
    assert could_not == []
    assert [each for each, since in meter.zombies.items() if time.monotonic() - since > FAULT_EVERY_S] == []
    if MINUTES >= JUDGED_FROM_MINUTES:
        grown = [
            each.text
            for each in meter.slopes()
            if surely(each.memory_growth) > MOST_GROWTH_MIB_PER_HOUR
            or surely(each.files_growth) > MOST_FILES_PER_HOUR
        ]
        assert grown == []


def launch_when_up(federation: SmallFederation, plan: Path) -> str:
    """Launch a run as soon as the coordinator is there to take it."""
    end = time.monotonic() + LAUNCH_S
    while True:
        try:
            return federation.launch(plan)
        except CommandError:
            if time.monotonic() > end:
                raise
            time.sleep(2)


def finish_through_outages(federation: SmallFederation, run_id: str) -> dict[str, object]:
    """What `run show` says once a run is over; the coordinator may be away in between."""
    while True:
        with contextlib.suppress(CommandError):
            shown: dict[str, object] = federation.coordinator.ask("run", "show", run_id)
            if shown["state"] in {"finished", "failed", "stopped"}:
                return shown
        time.sleep(2)
