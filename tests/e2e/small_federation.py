"""A federation of three phantom hospitals, small enough to be run again and again by tests.

All of it goes through the documented commands (`deploy.demo.federation`). Its processes are known by the home
folder in their command lines, which is how tests look for what is left of them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import tomli_w

from deploy.demo.federation import CommandError, Role, coordinator, free_ports, site, wait_until
from deploy.demo.phantoms import GE, HOLOGIC, SIEMENS, Vendor, WrittenImage, write_hospital
from server.flower.control import Control
from server.home import CoordinatorHome

PATIENTS = 3
SPACING_MM = 0.25
PORTS = 5
POLICY = """\
approval = "not needed"
limits.local_epochs = 100
data.min_examples = 1
egress.smallest_count = 1
"""
"""So small a hospital tells counts that a real one would not; who approves is what other tests are about."""

SMALLEST = {"size": "tiny", "input_height_px": 128, "input_width_px": 64}
STEP_TIMEOUT_S = 90.0
HALT_S, MOMENT_S = 5.0, 0.1
SUPERNODE = "client.flower.supernode"
VENDORS: dict[str, Vendor] = {"hospital-north": HOLOGIC, "hospital-lake": GE, "hospital-coast": SIEMENS}
DENSITY_MIX = {"b": 0.5, "c": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital:
    """A hospital's folder of phantom images, and what was planted in their headers."""

    name: str
    folder: Path
    images: tuple[WrittenImage, ...]


HOSPITALS = pytest.StashKey[list[Hospital]]()


def write_hospitals(folder: Path) -> list[Hospital]:
    """Three hospitals, one per vendor: a patient for each part of the split, two images each."""
    return [
        Hospital(
            name=name,
            folder=folder / name,
            images=tuple(
                write_hospital(
                    folder / name,
                    vendor=vendor,
                    patients=PATIENTS,
                    seed=seed,
                    density_mix=DENSITY_MIX,
                    spacing_mm=SPACING_MM,
                )
            ),
        )
        for seed, (name, vendor) in enumerate(VENDORS.items(), start=1)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class SentUpdate:
    """An update that a site's ledger names, by the bytes that left."""

    sha256: str
    share_of_float32: float


def updates_of(role: Role, run_id: str) -> list[SentUpdate]:
    """Every update that a site has sent in a run, in order."""
    return [
        SentUpdate(
            sha256=line["sha256"],
            share_of_float32=line["size_bytes"] / sum(4 * prod(shape) for shape in line["tensors"].values()),
        )
        for line in role.ask("ledger", "--run", run_id)
        if line["kind"] == "update"
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallFederation:
    """A coordinator and its sites, by name.

    Attributes
    ----------
    first_port
        Fleet; enrolment, transfer and the private listener follow.
    """

    folder: Path
    first_port: int
    coordinator: Role
    sites: dict[str, Role]
    hospitals: list[Hospital]

    @property
    def roles(self) -> list[Role]:
        """Coordinator first."""
        return [self.coordinator, *self.sites.values()]

    def start_all(self) -> None:
        """Start whatever is not running."""
        if self.coordinator.process is None:
            self.coordinator.start()
        in_parallel([role.start for role in self.sites.values() if role.process is None])

    def stop_all(self) -> None:
        """Stop whatever is running."""
        in_parallel([role.stop for role in reversed(self.roles)])

    def write_plan(
        self,
        name: str,
        *,
        rounds: int,
        timeout_s: float = 60.0,
        model: Mapping[str, Any] = SMALLEST,
        aggregation: Mapping[str, Any] = MappingProxyType({}),
        is_masked: bool = False,
        in_aggregate: bool = False,
        noise: Mapping[str, Any] = MappingProxyType({}),
        **training: Any,
    ) -> Path:
        """A plan, of the smallest network unless another is given; updates can be looked at unless masked.

        With `in_aggregate` metrics are told as sums of all alone; with `noise`, tables of `privacy`, it asks
        for no metric.
        """
        plan = {
            "name": name,
            "rounds": {"count": rounds, "quorum": 2, "timeout_s": timeout_s},
            "model": dict(model),
            "aggregation": dict(aggregation),
            "training": {"batch_size": 2, **training},
            "privacy": {
                "secure_aggregation": "on" if is_masked else "off",
                **({"metrics": "in_aggregate"} if in_aggregate else {}),
                **noise,
            },
            **({"metrics": []} if noise else {}),
        }
        file = self.folder / f"{name}.toml"
        file.write_text(tomli_w.dumps(plan))
        return file

    def launch(self, plan: Path) -> str:
        """Start a run and leave it going; returns its id."""
        run_id: str = self.coordinator.ask("run", "start", str(plan), "--detach")["run_id"]
        return run_id

    def finish(self, run_id: str) -> Any:
        """Follow a run until it is over; returns what `run show` says of it."""
        self.coordinator.run("run", "watch", run_id, "--json")
        return self.coordinator.ask("run", "show", run_id)

    def wait_for_step(self, site_name: str, run_id: str, *, round_number: int, step: int = 1) -> None:
        """Wait until a site's training has come to this step of this round."""
        log_file = self.sites[site_name].home / "logs" / "executor.log"
        text = f"{run_id} round {round_number} step {step}/"
        wait_until(lambda: text in log_file.read_text(errors="replace"), STEP_TIMEOUT_S, f"'{text}'")

    def is_all_online(self) -> bool:
        """Whether the coordinator sees the node of every hospital."""
        nodes = Control(CoordinatorHome(self.coordinator.home)).nodes()
        return list(nodes.values()) == [True] * len(self.hospitals)

    def runtime_ports(self) -> list[int]:
        """The port on loopback where each running SuperNode serves its executor."""
        nodes = [each for role in self.sites.values() for each in processes_of(role.home, SUPERNODE)]
        return [int(arguments_of(process_id)[-1]) for process_id in nodes]

    def logs(self) -> dict[Path, str]:
        """The text of every log file of every home."""
        files = [file for role in self.roles for file in (role.home / "logs").glob("*.log")]
        return {file: file.read_text(errors="replace") for file in files}


FEDERATION = pytest.StashKey[SmallFederation]()
FOLDERS = {"e2e", "faults"}
"""Whose tests share the federation."""


def build(
    folder: Path,
    hospitals: list[Hospital],
    *,
    host: str = "127.0.0.1",
    listen: str = "127.0.0.1",
    options: Sequence[str] = (),
) -> SmallFederation:
    """Found a federation, with further `init` options; nothing runs and nobody has joined yet."""
    first_port = free_ports(PORTS)
    federation = SmallFederation(
        folder=folder,
        first_port=first_port,
        coordinator=coordinator(folder / "coordinator"),
        sites={hospital.name: site(folder / f"site-{hospital.name}") for hospital in hospitals},
        hospitals=hospitals,
    )
    federation.coordinator.run(
        "init",
        "--name",
        "Small Federation",
        "--host",
        host,
        "--listen",
        listen,
        "--first-port",
        str(first_port),
        *options,
    )
    return federation


def bring_in(federation: SmallFederation, hospital: Hospital) -> None:
    """Invite a hospital, join, add its data and start its site; the coordinator must be running."""
    token = federation.coordinator.ask("site", "invite", hospital.name)["token"]
    join(federation.sites[hospital.name], hospital, token)


def join(role: Role, hospital: Hospital, token: str, *, policy: str = POLICY) -> None:
    """What a hospital does that was invited: join, which may wait for approval, add its data, and start."""
    role.run("join", token)
    (role.home / "policy.toml").write_text(policy)
    role.run("data", "add", str(hospital.folder))
    role.start()


def shared_hospitals(config: pytest.Config, folders: pytest.TempPathFactory) -> list[Hospital]:
    """The phantom hospitals of this test session, made once."""
    if HOSPITALS not in config.stash:
        config.stash[HOSPITALS] = write_hospitals(folders.mktemp("hospitals"))
    return config.stash[HOSPITALS]


def shared_federation(config: pytest.Config, folders: pytest.TempPathFactory) -> SmallFederation:
    """The one federation of this test session, all of it running; it ends with the session."""
    if FEDERATION not in config.stash:
        until_the_end = contextlib.ExitStack()
        federation = build(folders.mktemp("federation"), shared_hospitals(config, folders))
        config.stash[FEDERATION] = until_the_end.enter_context(running(federation))
        config.pluginmanager.register(_Rest(federation, until_the_end.close))
    federation = config.stash[FEDERATION]
    federation.start_all()
    return federation


@dataclass(frozen=True, slots=True, eq=False)
class _Rest:
    """A federation that waits takes half a processor: it rests while tests run that have none."""

    federation: SmallFederation
    end: Callable[[], None]

    def pytest_sessionfinish(self) -> None:
        """Before a worker says that it is done: after that it has ten seconds to live."""
        self.end()

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        is_running = any(role.process is not None for role in self.federation.roles)
        if is_running and item.path.parent.name not in FOLDERS:
            self.federation.stop_all()


@contextlib.contextmanager
def running(federation: SmallFederation) -> Iterator[SmallFederation]:
    """Start the coordinator, bring every hospital in, and end every process at the end, whatever happens."""
    try:
        federation.coordinator.start()
        in_parallel([lambda each=each: bring_in(federation, each) for each in federation.hospitals])
        yield federation
    finally:
        with contextlib.suppress(CommandError, subprocess.SubprocessError):
            federation.stop_all()
        for role in federation.roles:
            for process_id in processes_of(role.home):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process_id, signal.SIGKILL)


def in_parallel(calls: Sequence[Callable[[], None]]) -> None:
    """Make all calls at once; the first error is raised after all have ended."""
    with ThreadPoolExecutor(max(1, len(calls))) as pool:
        futures = [pool.submit(call) for call in calls]
    for future in futures:
        future.result()


def processes_of(home: Path, module: str = "") -> list[int]:
    """Ids of the processes whose command line names this home, and this module if one is given."""
    others = (int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit())
    return [
        process_id
        for process_id in others
        if process_id != os.getpid() and {str(home), module or str(home)} <= set(arguments_of(process_id))
    ]


@contextlib.contextmanager
def halted(role: Role, module: str) -> Iterator[None]:
    """Let one child of a role stand still for the time of the block, but for the moments that keep it alive.

    A child that says nothing for 15 s is replaced by its supervisor.
    """
    (process_id,) = processes_of(role.home, module)
    done = threading.Event()

    def hold() -> None:
        is_over = False
        with contextlib.suppress(ProcessLookupError):  # it has ended for another reason
            while not is_over:
                os.kill(process_id, signal.SIGSTOP)
                is_over = done.wait(HALT_S)
                os.kill(process_id, signal.SIGCONT)
                time.sleep(MOMENT_S)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def arguments_of(process_id: int) -> list[str]:
    """The command line of a process; empty if it has ended."""
    try:
        line = Path(f"/proc/{process_id}/cmdline").read_bytes()
    except OSError:
        return []
    return line.decode(errors="replace").rstrip("\0").split("\0")


def listening_ports() -> set[int]:
    """Every TCP port of this network namespace that something listens on."""
    listen = "0A"
    rows = [
        line.split()
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
    ]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == listen}
