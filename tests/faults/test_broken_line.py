"""The line between a site and the coordinator is cut, closed or poor; no contribution is lost by it."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from bench.our_rounds import bytes_of, plan_of
from deploy.demo.federation import wait_until
from server.home import CoordinatorHome
from shared.plan import ModelPlan
from tests.e2e.small_federation import SUPERNODE, SmallFederation, processes_of
from tests.faults.line import Line, Way
from tests.faults.reckoning import Witness

log = logging.getLogger(__name__)

VICTIM = "hospital-north"
SOME_SECONDS = {"local_epochs": 12, "learning_rate": 0.005}
CUT_S = 30.0
BACK_WITHIN_S = 30.0
TIMEOUT_S = 180.0
MB = 1_000_000
LARGE_BYTES = 120 * MB
"""Of a network whose update is 60 MB on the wire, in 16 bits and not packed."""

RATE = 12 * MB
"""So slow, in bytes a second, that a cut falls into a transfer."""

AMID_BYTES = 8 * MB


def states(shown: dict) -> list[list[str]]:
    return [[part["state"] for part in one["parts"]] for one in shown["rounds"]]


@pytest.mark.long
def test_a_site_behind_a_balancer_that_accepts_and_closes_is_back_within_half_a_minute(
    federation: SmallFederation, line: Line, witness: Witness
) -> None:
    wait_until(federation.is_all_online, 60, "all nodes")

    line.is_closing = True
    line.drop_all()
    wait_until(lambda: not federation.is_all_online(), 60, "the silence of the node")
    line.mend()
    began = time.monotonic()
    wait_until(federation.is_all_online, BACK_WITHIN_S, "the node")

    log.info("back after %.1f s", time.monotonic() - began)
    run_id = federation.launch(federation.write_plan("after-closing", rounds=1, timeout_s=TIMEOUT_S))
    assert states(federation.finish(run_id)) == [["admitted"] * 3]
    witness.reckon(run_id, rounds=1)


@pytest.mark.long
def test_a_line_that_is_cut_for_half_a_minute_amid_training_costs_no_contribution(
    federation: SmallFederation, line: Line, witness: Witness
) -> None:
    wait_until(federation.is_all_online, 60, "all nodes")
    plan = federation.write_plan("cut", rounds=2, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=1, step=2)

    line.is_cut = True
    time.sleep(CUT_S)
    line.is_cut = False
    shown = federation.finish(run_id)

    assert states(shown) == [["admitted"] * 3] * 2
    assert {one["attempt"] for one in shown["rounds"]} == {1}
    witness.reckon(run_id, rounds=2)


def large_plan(federation: SmallFederation, name: str, network: ModelPlan, *, rounds: int) -> Path:
    """A plan whose updates are not packed: two bytes a value."""
    return federation.write_plan(
        name,
        rounds=rounds,
        timeout_s=2 * TIMEOUT_S,
        model=network.model_dump(exclude_none=True),
        aggregation={"compression": "none"},
    )


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_line_that_is_cut_for_half_a_minute_amid_a_download_and_an_upload_costs_no_contribution(
    federation: SmallFederation, line: Line, witness: Witness
) -> None:
    wait_until(federation.is_all_online, 60, "all nodes")
    transfer = CoordinatorHome(federation.coordinator.home).settings().transfer_port
    network = plan_of(LARGE_BYTES)
    model_bytes, update_bytes = bytes_of(network), bytes_of(network) // 2
    line.bytes_per_s = RATE
    run_id = federation.launch(large_plan(federation, "cut-transfers", network, rounds=1))

    passed = {}
    for way in (Way.DOWN, Way.UP):
        wait_until(lambda way=way: line.passed_bytes[transfer, way] > AMID_BYTES, TIMEOUT_S, f"bytes {way}")
        line.is_cut = True
        passed[way] = line.passed_bytes[transfer, way]
        time.sleep(CUT_S)
        line.is_cut = False
    shown = federation.finish(run_id)

    log.info("passed in all: %s", {way.name: line.passed_bytes[transfer, way] / MB for way in Way})
    assert passed[Way.DOWN] < model_bytes
    assert passed[Way.UP] < update_bytes
    # What had arrived did not pass again, but for what was under way; the final weights are fetched as well.
    assert line.passed_bytes[transfer, Way.DOWN] < 2 * model_bytes + AMID_BYTES
    assert update_bytes < line.passed_bytes[transfer, Way.UP] < update_bytes + AMID_BYTES
    assert states(shown) == [["admitted"] * 3]
    assert {one["attempt"] for one in shown["rounds"]} == {1}
    witness.reckon(run_id, rounds=1)


@pytest.mark.long
@pytest.mark.parametrize("status", [500, 503])
def test_one_answer_of_a_server_error_costs_no_site_its_place(
    federation: SmallFederation, line: Line, witness: Witness, status: int
) -> None:
    wait_until(federation.is_all_online, 60, "all nodes")
    home = CoordinatorHome(federation.coordinator.home)
    fleet = home.settings().fleet_port
    plan = federation.write_plan(f"answer-{status}", rounds=2, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=1)

    before = processes_of(federation.sites[VICTIM].home, SUPERNODE)
    line.answer_once(fleet, status, home)
    wait_until(lambda: line.has_answered(fleet), BACK_WITHIN_S, "the answer")
    shown = federation.finish(run_id)

    is_replaced = processes_of(federation.sites[VICTIM].home, SUPERNODE) != before
    seconds = [round(one["seconds"], 1) for one in shown["rounds"]]
    log.info("after %d: node replaced: %s, states %s, %s s", status, is_replaced, states(shown), seconds)
    assert states(shown) == [["admitted"] * 3] * 2
    witness.reckon(run_id, rounds=2)
