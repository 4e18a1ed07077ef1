"""The coordinator is killed at the worst moments; its last writes are torn, as in a power cut."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import subprocess
import sys
import time
from enum import StrEnum
from pathlib import Path

import pytest

from deploy.demo.federation import wait_until
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from server.lifecycle import AnswerState, RoundState, RunState
from shared.audit.events import ModelPublished
from shared.records import Phase
from tests.e2e.small_federation import VENDORS, SmallFederation, halted, processes_of
from tests.faults.reckoning import Witness

log = logging.getLogger(__name__)

VICTIM, GONE = "hospital-north", "hospital-coast"
SOME_SECONDS = {"local_epochs": 12, "learning_rate": 0.005}
ROUNDS = 3
TIMEOUT_S = 180.0
MOMENT_S = 90.0
CHILD_GRACE_S = 10.0
LOOK_S = 0.005
HALF_A_PAGE_BYTES = 2048
ROW_BYTES = 100
RUNNER, SUPERLINK = "server.flower.runner", "server.flower.superlink"
EXECUTOR = "client.flower.executor"


def kill_coordinator(federation: SmallFederation) -> None:
    """All of its processes at once."""
    role = federation.coordinator
    for process_id in processes_of(role.home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
    assert role.process is not None
    role.process.wait()
    role.process = None
    wait_until(lambda: not processes_of(role.home), CHILD_GRACE_S, "the end of the coordinator")


WRITE_LONG = """
import sqlite3, sys, time
writer = sqlite3.connect(sys.argv[1], isolation_level=None)
writer.execute("PRAGMA cache_size=1")  # what does not fit goes into the journal before its commit
writer.execute("BEGIN IMMEDIATE")
numbers = f"WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {sys.argv[2]})"
writer.execute(f"CREATE TABLE torn AS {numbers} SELECT i, hex(randomblob(100)) AS noise FROM n")
print("written", flush=True)
time.sleep(60)
"""


def tear_last_writes(home: Path) -> None:
    """What a power cut leaves of writes that were not over: a journal cut amid a frame, half a blob.

    The frame is of a transaction that was being written: of one that was over, all is on the disk. Nobody
    has the store open, so that the journal is read by whoever opens it first.
    """
    journal = home / "coordinator.db-wal"
    before = journal.stat().st_size
    # Longer than the journal, which is written from its beginning again if all of it is in the store.
    num_rows = 2000 + before // ROW_BYTES
    command = [sys.executable, "-c", WRITE_LONG, str(home / "coordinator.db"), str(num_rows)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.kill()
    assert journal.stat().st_size > before + HALF_A_PAGE_BYTES
    os.truncate(journal, journal.stat().st_size - HALF_A_PAGE_BYTES)
    (home / "blobs" / "partial" / "put.0123456789abcdef").write_bytes(b"the first half of a checkpo")


def wait_for_others(federation: SmallFederation, run_id: str, *, number: int) -> None:
    """Wait until all sites but one have been taken in."""
    coordinator = Coordinator.open(CoordinatorHome(federation.coordinator.home))
    num_others = len(federation.sites) - 1
    wait_until(lambda: admitted(coordinator, run_id, number) == num_others, MOMENT_S, "the others' answers")


def let_go_of_the_store() -> None:
    """Close it in this process: the last one to close it would put the journal in order."""
    gc.collect()
    opened = [each.readlink().name for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    assert "coordinator.db-shm" not in opened


def admitted(coordinator: Coordinator, run_id: str, number: int) -> int:
    return sum(
        (answer.number, answer.phase, answer.state) == (number, Phase.TRAIN, AnswerState.ADMITTED)
        for answer in coordinator.runs.answers(run_id)
    )


def test_answers_taken_in_count_when_the_coordinator_loses_its_power_and_one_of_their_sites_is_gone_for_good(
    federation: SmallFederation, witness: Witness
) -> None:
    gone = federation.sites[GONE]
    plan = federation.write_plan("power-cut", rounds=ROUNDS, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=2)
    with halted(federation.sites[VICTIM], EXECUTOR):  # the round must not be over before the power is lost
        wait_for_others(federation, run_id, number=2)
        let_go_of_the_store()
        kill_coordinator(federation)
    gone.kill()
    wait_until(lambda: not processes_of(gone.home), CHILD_GRACE_S, "the end of the site's children")
    tear_last_writes(federation.coordinator.home)
    federation.coordinator.start()
    shown = federation.finish(run_id)

    assert shown["state"] == RunState.FINISHED
    assert [one["attempt"] for one in shown["rounds"]] == [1, 2, 1]
    counted = [
        {part["site"] for part in one["parts"] if part["state"] == AnswerState.ADMITTED}
        for one in shown["rounds"]
    ]
    assert counted == [set(VENDORS), set(VENDORS), set(VENDORS) - {GONE}]
    witness.reckon(run_id, rounds=ROUNDS)


class Moment(StrEnum):
    """When both are killed."""

    BEFORE = "before aggregation"
    WITHIN = "in aggregation"
    AFTER = "after aggregation"
    EVALUATING = "in the evaluation of the published model"


def has_come(moment: Moment, coordinator: Coordinator, run_id: str, num_sites: int) -> bool:
    """Whether the store tells of this moment, after a first round."""
    rounds = coordinator.runs.rounds(run_id)
    (last,) = [each for each in rounds if each.phase is Phase.TRAIN][-1:] or [None]
    if last is None or last.number == 1:
        return False
    num_admitted = admitted(coordinator, run_id, last.number)
    match moment:
        case Moment.BEFORE:
            return last.state is RoundState.OPEN and num_admitted == num_sites - 1
        case Moment.WITHIN:
            return last.state is RoundState.OPEN and num_admitted == num_sites
        case Moment.AFTER:
            return last.state is RoundState.AGGREGATED and last.number < ROUNDS
        case Moment.EVALUATING:
            is_asked = any((each.phase, each.state) == (Phase.EVALUATE, RoundState.OPEN) for each in rounds)
            return is_asked and coordinator.models.of_run(run_id) is not None


def stop_at(moment: Moment, federation: SmallFederation, coordinator: Coordinator, run_id: str) -> None:
    """Let the runner stand still in this moment; one that was over too soon comes again in another round."""
    (runner,) = processes_of(federation.coordinator.home, RUNNER)
    end = time.monotonic() + MOMENT_S
    while time.monotonic() < end:
        time.sleep(LOOK_S)
        if has_come(moment, coordinator, run_id, len(federation.sites)):
            os.kill(runner, signal.SIGSTOP)
            if has_come(moment, coordinator, run_id, len(federation.sites)):
                return
            os.kill(runner, signal.SIGCONT)
    pytest.fail(f"'{moment}' has not come")


@pytest.mark.long
@pytest.mark.parametrize("moment", Moment)
def test_a_run_survives_superlink_and_coordinator_killed_at_once(
    federation: SmallFederation, witness: Witness, moment: Moment
) -> None:
    role = federation.coordinator
    coordinator = Coordinator.open(CoordinatorHome(role.home))
    name = moment.replace(" ", "-")
    plan = federation.write_plan(name, rounds=ROUNDS, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    run_id = federation.launch(plan)
    stop_at(moment, federation, coordinator, run_id)
    interrupted = [
        each.number
        for each in coordinator.runs.rounds(run_id)
        if (each.phase, each.state) == (Phase.TRAIN, RoundState.OPEN)
    ]

    (superlink,) = processes_of(role.home, SUPERLINK)
    os.kill(superlink, signal.SIGKILL)
    kill_coordinator(federation)
    began = time.monotonic()
    role.start()
    shown = federation.finish(run_id)
    log.info("%s: finished %.1f s after the start", moment, time.monotonic() - began)

    assert shown["state"] == RunState.FINISHED
    attempts = {one["number"]: one["attempt"] for one in shown["rounds"]}
    assert len(interrupted) == (moment in {Moment.BEFORE, Moment.WITHIN})
    assert attempts == {number: 2 if number in interrupted else 1 for number in range(1, ROUNDS + 1)}
    told = [line.details["run_id"] for line in coordinator.audit.lines() if line.name == ModelPublished.name]
    assert told.count(run_id) == 1
    witness.reckon(run_id, rounds=ROUNDS)


@pytest.mark.long
def test_a_superlink_that_starts_anew_while_a_site_stands_still_leaves_no_round_stuck(
    federation: SmallFederation, witness: Witness
) -> None:
    home = federation.coordinator.home
    coordinator = Coordinator.open(CoordinatorHome(home))
    plan = federation.write_plan("anew", rounds=ROUNDS, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=2)

    def is_open_again() -> bool:
        last = coordinator.runs.rounds(run_id)[-1]
        return (last.number, last.attempt, last.state) == (2, 2, RoundState.OPEN)

    with halted(federation.sites[VICTIM], EXECUTOR):
        (superlink,) = processes_of(home, SUPERLINK)
        os.kill(superlink, signal.SIGKILL)
        wait_until(is_open_again, MOMENT_S, "the next attempt")
        wait_until(lambda: admitted(coordinator, run_id, 2) == len(VENDORS) - 1, MOMENT_S, "the others")
    shown = federation.finish(run_id)
    log.info("seconds of each round: %s", [round(one["seconds"], 1) for one in shown["rounds"]])

    assert shown["state"] == RunState.FINISHED
    for one in shown["rounds"][1:]:
        assert {part["state"] for part in one["parts"]} == {AnswerState.ADMITTED}
    witness.reckon(run_id, rounds=ROUNDS)


@pytest.mark.long
@pytest.mark.parametrize("module", [SUPERLINK, RUNNER])
def test_a_process_of_the_coordinator_that_stands_still_is_replaced(
    federation: SmallFederation, witness: Witness, module: str
) -> None:
    home = federation.coordinator.home
    plan = federation.write_plan("stopped", rounds=ROUNDS, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=2)
    (stopped,) = processes_of(home, module)

    os.kill(stopped, signal.SIGSTOP)
    shown = federation.finish(run_id)

    assert shown["state"] == RunState.FINISHED
    assert stopped not in processes_of(home, module)
    witness.reckon(run_id, rounds=ROUNDS)
