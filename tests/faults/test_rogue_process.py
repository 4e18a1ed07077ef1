"""A hostile site with all that a site has, as processes: it is kept out round by round, and fills no disk."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.home import SiteHome
from deploy.demo.federation import free_ports, wait_until
from server.home import CoordinatorHome
from shared.flower.environment import flower_environment
from shared.supervision import Program, Supervisor
from tests.e2e.small_federation import VENDORS, SmallFederation, halted
from tests.faults.reckoning import Witness

log = logging.getLogger(__name__)
pytestmark = pytest.mark.long

VICTIM, RUNNER = "hospital-north", "server.flower.runner"
TREE = Path(__file__).parents[2]
TEND_S, LOOK_S = 0.2, 0.02
START_S, TIMEOUT_S = 60.0, 120.0
ROUNDS = 11
BOUND = {"max_update_norm": 1.0}
"""Honest sites keep within it by themselves."""

REASONS = {
    3: "not of the round",
    4: "not of the round",
    5: "beyond the plan's bound",
    6: "another grid",
    7: "another network",
    8: "another occasion",
    9: "another occasion",
    10: "No blob",
}
"""Why the coordinator keeps the site out, by round; in the second and the last one it behaves."""

RUBBISH = re.compile(r"rubbish said to be (\d+), (\d+) were taken off")
HTTP2_WINDOW_BYTES = 16 << 20
"""The most that gRPC lets a sender send of a stream that nobody reads."""


def in_flight_bytes() -> int:
    """What gRPC and the buffers of two sockets hold of it, as large as this kernel lets them grow."""
    buffers = (Path(f"/proc/sys/net/ipv4/tcp_{name}mem").read_text().split()[-1] for name in "rw")
    return HTTP2_WINDOW_BYTES + sum(map(int, buffers))


@contextlib.contextmanager
def rogue_site(home: SiteHome) -> Iterator[Path]:
    """Run a hostile site in the place of the real one; yields its log."""
    port = str(free_ports(1))
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TREE)}
    log_file = home.logs / "rogue.log"
    supervisor = Supervisor(
        [
            Program(
                name=name,
                module=module,
                arguments=[str(home.folder), port],
                environment={**flower_environment(home.flower / name), **environment},
                log_file=log_file if name == "rogue" else home.logs / f"{name}.log",
                has_pulse=True,
            )
            for name, module in (
                ("supernode", "client.flower.supernode"),
                ("rogue", "tests.faults.rogue_executor"),
            )
        ]
    )
    done = threading.Event()

    def tend() -> None:
        while not done.wait(TEND_S):
            supervisor.tend()

    thread = threading.Thread(target=tend, daemon=True)
    supervisor.tend()
    thread.start()
    try:
        yield log_file
    finally:
        done.set()
        thread.join()
        supervisor.stop()


@contextlib.contextmanager
def largest_use(folder: Path) -> Iterator[list[int]]:
    """The most bytes that a folder's files have had together until the block is left."""
    done, most = threading.Event(), [0]

    def look() -> None:
        while not done.wait(LOOK_S):
            sizes = []
            for file in folder.rglob("*"):
                with contextlib.suppress(OSError):
                    sizes.append(file.stat().st_size)
            most[0] = max(most[0], sum(sizes))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def test_a_hostile_site_is_kept_out_round_by_round_and_fills_no_disk(
    federation: SmallFederation, witness: Witness
) -> None:
    role = federation.sites[VICTIM]
    coordinator = CoordinatorHome(federation.coordinator.home)
    plan = federation.write_plan(
        "rogue", rounds=ROUNDS, timeout_s=TIMEOUT_S, aggregation=BOUND, local_epochs=6
    )
    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=1)
    with contextlib.ExitStack() as stay:
        stay.callback(role.start)
        with halted(federation.coordinator, RUNNER):  # the round must not be over before
            role.stop()
            said = stay.enter_context(rogue_site(SiteHome(role.home)))
            wait_until(lambda: said.exists() and "ready" in said.read_text(), START_S, "the hostile site")
            wait_until(federation.is_all_online, START_S, "its node")
        partial = stay.enter_context(largest_use(coordinator.blobs / "partial"))
        shown = federation.finish(run_id)

    parts = {
        one["number"]: {part["site"]: (part["state"], part["reason"]) for part in one["parts"]}
        for one in shown["rounds"]
    }
    assert shown["state"] == "finished"
    for number, reason in REASONS.items():
        state, recorded = parts[number].pop(VICTIM)
        assert state == "rejected"
        assert reason in recorded
        assert {state for state, _ in parts[number].values()} == {"admitted"}
    assert parts[ROUNDS] == dict.fromkeys(VENDORS, ("admitted", None))
    pushed = {int(told): int(taken) for told, taken in RUBBISH.findall(said.read_text())}
    (openly, behind) = sorted(pushed, reverse=True)
    log.info("rubbish: %s; unfinished blobs took %d bytes at most", pushed, partial[0])
    assert pushed[openly] <= in_flight_bytes()
    assert pushed[behind] <= behind + in_flight_bytes()
    assert partial[0] <= 3 * behind * 1.1  # one update of each site
    witness.reckon(run_id, rounds=ROUNDS)
