"""Processes die in the middle of a round, by SIGKILL as in a power cut; the run goes on and ends well."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.federation import Role, wait_until
from tests.e2e.small_federation import SUPERNODE, VENDORS, SmallFederation, halted, processes_of
from tests.faults.memory import little_memory, num_killed
from tests.faults.reckoning import Witness

log = logging.getLogger(__name__)

VICTIM, WITNESS = "hospital-north", "hospital-coast"
EXECUTOR, RUNNER, SUPERLINK = "client.flower.executor", "server.flower.runner", "server.flower.superlink"
SOME_SECONDS = {"local_epochs": 12, "learning_rate": 0.005}
"""Rounds that are long enough for a process to be killed in the middle of one."""

MIDDLE_STEP = 2
TIMEOUT_S = 120.0
MISSED_AFTER_S = 60.0
"""A dead site or executor is missed long before the round's own timeout."""

CHILD_GRACE_S = 10.0
START_S = 60.0
HANG_TIMEOUT_S = 20.0
REPLACED_WITHIN_S = 2 * HANG_TIMEOUT_S + 60 + 30
"""The time of its task, a minute beyond it, and the 15 s until its silence is noticed."""

NO_MEMORY_BYTES = 1 << 20
QUORUM = 2
NODE_IS_IN = "SuperNode ID"
"""What Flower writes to the log when the coordinator has let the node in."""


@pytest.mark.long
def test_a_site_killed_in_a_round_is_left_behind_and_is_back_when_it_is_started_again(
    federation: SmallFederation, witness: Witness
) -> None:
    plan = federation.write_plan("killed-site", rounds=3, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    victim = federation.sites[VICTIM]

    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=1, step=MIDDLE_STEP)
    victim.kill()
    wait_until(lambda: not processes_of(victim.home), CHILD_GRACE_S, "the end of the site's children")
    federation.wait_for_step(WITNESS, run_id, round_number=2)
    with halted(federation.coordinator, RUNNER):  # round 2 must not be over before the site is back
        start_and_connect(victim)
    shown = federation.finish(run_id)

    first, second, third = shown["rounds"]
    others = {name: "admitted" for name in VENDORS if name != VICTIM}
    assert shown["state"] == "finished"
    assert states(first) == {**others, VICTIM: "lost"}
    assert first["seconds"] < MISSED_AFTER_S
    assert states(second) == others
    assert states(third) == {**others, VICTIM: "admitted"}
    assert {one["attempt"] for one in shown["rounds"]} == {1}
    witness.reckon(run_id, rounds=3)


@pytest.mark.slow
def test_an_executor_killed_in_training_costs_its_site_one_round(
    federation: SmallFederation, witness: Witness
) -> None:
    plan = federation.write_plan("killed-executor", rounds=2, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    role = federation.sites[VICTIM]

    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=1, step=MIDDLE_STEP)
    killed = kill_only(role, EXECUTOR)
    shown = federation.finish(run_id)

    first, second = shown["rounds"]
    assert shown["state"] == "finished"
    assert states(first) == {**dict.fromkeys(VENDORS, "admitted"), VICTIM: "lost"}
    assert first["seconds"] < MISSED_AFTER_S
    assert states(second) == dict.fromkeys(VENDORS, "admitted")
    (successor,) = processes_of(role.home, EXECUTOR)
    assert successor != killed
    witness.reckon(run_id, rounds=2)


@pytest.mark.long
@pytest.mark.parametrize(
    ("fate", "back_within_s"),
    [(signal.SIGKILL, 30.0), (signal.SIGSTOP, 45.0)],
    ids=["killed", "standing still"],
)
def test_a_supernode_that_fails_alone_costs_its_site_no_round(
    federation: SmallFederation, witness: Witness, fate: signal.Signals, back_within_s: float
) -> None:
    plan = federation.write_plan(f"node-{fate.name.lower()}", rounds=2, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    role = federation.sites[VICTIM]

    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=1, step=MIDDLE_STEP)
    (failed,) = processes_of(role.home, SUPERNODE)
    log_file = role.home / "logs" / "supernode.log"
    known = log_file.read_text(errors="replace").count(NODE_IS_IN)
    os.kill(failed, fate)
    began = time.monotonic()
    wait_until(lambda: log_file.read_text(errors="replace").count(NODE_IS_IN) > known, START_S, "the node")
    back_s = time.monotonic() - began
    shown = federation.finish(run_id)
    log.info(
        "%s: back after %.1f s, rounds of %s s, states %s",
        fate.name,
        back_s,
        [round(one["seconds"], 1) for one in shown["rounds"]],
        [states(one) for one in shown["rounds"]],
    )

    assert shown["state"] == "finished"
    assert back_s < back_within_s
    assert [states(one) for one in shown["rounds"]] == [dict.fromkeys(VENDORS, "admitted")] * 2
    assert processes_of(role.home, SUPERNODE) not in ([], [failed])
    witness.reckon(run_id, rounds=2)


@pytest.mark.long
def test_a_supernode_and_an_executor_killed_at_once_cost_their_site_one_attempt_at_most(
    federation: SmallFederation, witness: Witness
) -> None:
    plan = federation.write_plan("killed-both", rounds=2, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    role = federation.sites[VICTIM]

    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=1, step=MIDDLE_STEP)
    killed = {module: kill_only(role, module) for module in (SUPERNODE, EXECUTOR)}
    shown = federation.finish(run_id)

    first, second = shown["rounds"]
    assert shown["state"] == "finished"
    assert first["seconds"] < MISSED_AFTER_S
    assert {name for name, state in states(first).items() if state == "admitted"} >= set(VENDORS) - {VICTIM}
    assert states(second) == dict.fromkeys(VENDORS, "admitted")
    for module, process_id in killed.items():
        assert processes_of(role.home, module) not in ([], [process_id])
    witness.reckon(run_id, rounds=2)


@pytest.mark.long
def test_an_executor_that_the_kernel_ends_for_want_of_memory_costs_its_site_one_round_at_most(
    federation: SmallFederation, witness: Witness
) -> None:
    plan = federation.write_plan("no-memory", rounds=3, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    role = federation.sites[VICTIM]

    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=1, step=MIDDLE_STEP)
    (victim,) = processes_of(role.home, EXECUTOR)
    with little_memory(victim, left_bytes=NO_MEMORY_BYTES) as group:
        wait_until(lambda: num_killed(group), MISSED_AFTER_S, "the kernel")
    shown = federation.finish(run_id)

    without = [one for one in shown["rounds"] if states(one) != dict.fromkeys(VENDORS, "admitted")]
    assert shown["state"] == "finished"
    assert len(without) <= 1  # none, if it had just answered
    for one in without:
        assert states(one) == {**dict.fromkeys(VENDORS, "admitted"), VICTIM: "lost"}
        assert one["seconds"] < MISSED_AFTER_S
    assert processes_of(role.home, EXECUTOR) not in ([], [victim])
    witness.reckon(run_id, rounds=3)


@pytest.mark.long
def test_training_that_hangs_for_ever_costs_one_deadline_and_its_executor_is_replaced(
    federation: SmallFederation, witness: Witness, tmp_path: Path
) -> None:
    role = federation.sites[VICTIM]
    (shard,) = role.home.glob("**/*.shard")
    kept = tmp_path / "shard"
    hung = kill_only(role, EXECUTOR)
    wait_until(lambda: processes_of(role.home, EXECUTOR) not in ([], [hung]), START_S, "its successor")
    (hung,) = processes_of(role.home, EXECUTOR)
    shard.rename(kept)
    os.mkfifo(shard)  # a reader waits here for ever, while the rest of its process goes on
    try:
        shown = federation.finish(
            federation.launch(federation.write_plan("hang", rounds=3, timeout_s=HANG_TIMEOUT_S))
        )
        began = time.monotonic()
        wait_until(lambda: hung not in processes_of(role.home, EXECUTOR), REPLACED_WITHIN_S, "its end")
        log.info("the hung executor was ended %.1f s after the run", time.monotonic() - began)
    finally:
        shard.unlink()
        kept.rename(shard)
    later = federation.launch(federation.write_plan("after-hang", rounds=1, timeout_s=TIMEOUT_S))
    after = federation.finish(later)

    seconds = [one["seconds"] for one in shown["rounds"]]
    assert shown["state"] == "finished"
    assert HANG_TIMEOUT_S <= max(seconds) < HANG_TIMEOUT_S + 10
    assert sum(one >= HANG_TIMEOUT_S for one in seconds) == 1
    assert all(states(one)[VICTIM] == "lost" for one in shown["rounds"])
    witness.reckon(shown["run_id"], rounds=3)
    assert states(after["rounds"][0]) == dict.fromkeys(VENDORS, "admitted")
    witness.reckon(later, rounds=1)


@pytest.mark.slow
def test_a_run_goes_on_from_its_checkpoints_when_processes_of_the_coordinator_are_killed(
    federation: SmallFederation, witness: Witness
) -> None:
    plan = federation.write_plan("killed-coordinator", rounds=3, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    role, slow_site = federation.coordinator, federation.sites[VICTIM]

    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=2, step=MIDDLE_STEP)
    with halted(slow_site, EXECUTOR):  # the round must not be over before its process is killed
        first = role.ask("run", "show", run_id)["rounds"][0]
        (orphan,) = processes_of(role.home, RUNNER)
        killed = {SUPERLINK: kill_only(role, SUPERLINK)}
        began = time.monotonic()
        wait_until(lambda: orphan not in processes_of(role.home, RUNNER), START_S, "the orphan's end")
        log.info("the runner survived its SuperLink by %.1f s", time.monotonic() - began)
    federation.wait_for_step(VICTIM, run_id, round_number=3, step=MIDDLE_STEP)
    with halted(slow_site, EXECUTOR):
        killed[RUNNER] = kill_only(role, RUNNER)
    shown = federation.finish(run_id)

    assert shown["state"] == "finished"
    assert shown["rounds"][0] == first
    assert [(one["state"], one["attempt"]) for one in shown["rounds"]] == [
        ("aggregated", 1),
        ("aggregated", 2),
        ("aggregated", 2),
    ]
    for one in shown["rounds"]:
        assert list(states(one).values()).count("admitted") >= QUORUM
    for module, process_id in killed.items():
        (successor,) = processes_of(role.home, module)
        assert successor != process_id
    witness.reckon(run_id, rounds=3)


def kill_only(role: Role, module: str) -> int:
    """Kill one child of a role; returns what its process id was."""
    (process_id,) = processes_of(role.home, module)
    os.kill(process_id, signal.SIGKILL)
    return process_id


def start_and_connect(role: Role) -> None:
    """Start a site and wait until the coordinator has let its node in again."""
    log_file = role.home / "logs" / "supernode.log"
    known = log_file.read_text(errors="replace").count(NODE_IS_IN)
    role.start()
    wait_until(lambda: log_file.read_text(errors="replace").count(NODE_IS_IN) > known, START_S, "the node")


def states(one: dict[str, Any]) -> dict[str, str]:
    """What became of each site in a round."""
    return {part["site"]: part["state"] for part in one["parts"]}
