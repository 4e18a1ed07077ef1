"""A store refuses for a while: another writer holds the coordinator's database, or a disk is full."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.federation import wait_until
from tests.e2e.small_federation import VENDORS, SmallFederation
from tests.faults.reckoning import Witness
from tests.faults.small_disk import own_disk

log = logging.getLogger(__name__)
pytestmark = pytest.mark.long

VICTIM = "hospital-north"
SOME_SECONDS = {"local_epochs": 12, "learning_rate": 0.005}
TIMEOUT_S = 180.0
LOCKED_S = 20.0
SPARE_BYTES = 256 << 20
FULL_S = 15.0
NOTICED_WITHIN_S = 60.0
GOES_ON_WITHIN_S = 60.0
SITE_TIMEOUT_S = 45.0


def states(shown: dict) -> list[dict[str, str]]:
    return [{part["site"]: part["state"] for part in one["parts"]} for one in shown["rounds"]]


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the one write lock of a database, as a second writer."""
    writer = sqlite3.connect(database, isolation_level=None)
    try:
        writer.execute("BEGIN IMMEDIATE")
        yield
    finally:
        writer.rollback()
        writer.close()


def test_a_database_that_another_writer_holds_for_twenty_seconds_costs_no_contribution(
    federation: SmallFederation, witness: Witness
) -> None:
    plan = federation.write_plan("locked", rounds=2, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=1)

    with locked(federation.coordinator.home / "coordinator.db"):
        time.sleep(LOCKED_S)
    shown = federation.finish(run_id)

    assert shown["state"] == "finished"
    assert states(shown) == [dict.fromkeys(VENDORS, "admitted")] * 2
    assert {one["attempt"] for one in shown["rounds"]} == {1}
    log.info("seconds of each round: %s", [round(one["seconds"], 1) for one in shown["rounds"]])
    witness.reckon(run_id, rounds=2)


def test_a_run_waits_while_the_coordinators_disk_is_full_and_goes_on_when_there_is_space(
    federation: SmallFederation, witness: Witness
) -> None:
    role = federation.coordinator
    said = role.home / "logs" / "runner.log"
    with own_disk(role, spare_bytes=SPARE_BYTES) as disk:
        plan = federation.write_plan("full-disk", rounds=3, timeout_s=TIMEOUT_S, **SOME_SECONDS)
        run_id = federation.launch(plan)
        federation.wait_for_step(VICTIM, run_id, round_number=2)
        before = said.stat().st_size
        with disk.full():
            time.sleep(FULL_S)
        began = time.monotonic()
        wait_until(lambda: role.ask("run", "show", run_id)["num_finished"] >= 2, GOES_ON_WITHIN_S, "round 2")
        log.info("round 2 was over %.1f s after there was space", time.monotonic() - began)
        shown = federation.finish(run_id)
        log.info("the log grew by: %s", said.read_text(errors="replace")[before:][-400:])

    assert shown["state"] == "finished"
    assert all(list(one.values()).count("admitted") >= 2 for one in states(shown))
    assert states(shown)[-1] == dict.fromkeys(VENDORS, "admitted")
    witness.reckon(run_id, rounds=3)


def test_a_site_whose_disk_is_full_is_missing_and_comes_back_when_there_is_space(
    federation: SmallFederation, witness: Witness
) -> None:
    role = federation.sites[VICTIM]
    said = role.home / "logs" / "executor.log"
    with own_disk(role, spare_bytes=SPARE_BYTES) as disk:
        plan = federation.write_plan("full-site", rounds=8, timeout_s=SITE_TIMEOUT_S, **SOME_SECONDS)
        run_id = federation.launch(plan)
        federation.wait_for_step(VICTIM, run_id, round_number=2)
        before = said.stat().st_size
        with disk.full():
            wait_until(
                lambda: federation.coordinator.ask("run", "show", run_id)["num_finished"] >= 2,
                SITE_TIMEOUT_S + GOES_ON_WITHIN_S,
                "round 2 without the site",
            )
            assert role.ask("status")["disk_free_bytes"] < 1 << 20
        shown = federation.finish(run_id)
        log.info("the log grew by: %s", said.read_text(errors="replace")[before:][-2000:])

    assert shown["state"] == "finished"
    assert all(list(one.values()).count("admitted") >= 2 for one in states(shown))
    assert states(shown)[-1][VICTIM] == "admitted"
    log.info("states of each round: %s", states(shown))
    witness.reckon(run_id, rounds=8)
