"""The line between a site and the coordinator is cut, closed or poor; no contribution is lost by it."""

from __future__ import annotations

import logging
import time

import pytest

from deploy.demo.federation import wait_until
from server.flower.control import Control
from server.home import CoordinatorHome
from tests.e2e.small_federation import VENDORS, SmallFederation
from tests.faults.line import Line
from tests.faults.reckoning import Witness

log = logging.getLogger(__name__)

VICTIM = "hospital-north"
SOME_SECONDS = {"local_epochs": 12, "learning_rate": 0.005}
CUT_S = 30.0
BACK_WITHIN_S = 30.0
TIMEOUT_S = 180.0


def states(shown: dict) -> list[list[str]]:
    return [[part["state"] for part in one["parts"]] for one in shown["rounds"]]


def all_online(federation: SmallFederation) -> bool:
    nodes = Control(CoordinatorHome(federation.coordinator.home)).nodes()
    return list(nodes.values()) == [True] * len(VENDORS)


@pytest.mark.long
def test_a_site_behind_a_balancer_that_accepts_and_closes_is_back_within_half_a_minute(
    federation: SmallFederation, line: Line, witness: Witness
) -> None:
    wait_until(lambda: all_online(federation), 60, "all nodes")

    line.is_closing = True
    line.drop_all()
    wait_until(lambda: not all_online(federation), 60, "the silence of the node")
    line.mend()
    began = time.monotonic()
    wait_until(lambda: all_online(federation), BACK_WITHIN_S, "the node")

    log.info("back after %.1f s", time.monotonic() - began)
    run_id = federation.launch(federation.write_plan("after-closing", rounds=1, timeout_s=TIMEOUT_S))
    assert states(federation.finish(run_id)) == [["admitted"] * 3]
    witness.reckon(run_id, rounds=1)


@pytest.mark.long
def test_a_line_that_is_cut_for_half_a_minute_amid_training_costs_no_contribution(
    federation: SmallFederation, line: Line, witness: Witness
) -> None:
    wait_until(lambda: all_online(federation), 60, "all nodes")
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
