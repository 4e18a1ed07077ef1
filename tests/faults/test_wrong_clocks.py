"""Clocks that are a day off: a site's costs the site its part, the coordinator's lets runs wait."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from deploy.demo.federation import wait_until
from server.coordinator import Coordinator
from server.home import CoordinatorHome
from tests.e2e.small_federation import VENDORS, SmallFederation, halted
from tests.faults.clocks import own_clock
from tests.faults.reckoning import Witness

log = logging.getLogger(__name__)
pytestmark = pytest.mark.long

VICTIM, OTHER = "hospital-north", "hospital-coast"
EXECUTOR = "client.flower.executor"
DAY_S = 86_400
SOME_SECONDS = {"local_epochs": 12, "learning_rate": 0.005}
TIMEOUT_S = 120.0
NOTICED_WITHIN_S = 90.0
BACK_WITHIN_S = 60.0


def states(one: dict) -> dict[str, str]:
    return {part["site"]: part["state"] for part in one["parts"]}


@pytest.mark.parametrize("off_s", [DAY_S, -DAY_S])
def test_a_run_waits_while_the_coordinators_clock_is_a_day_off_and_goes_on_when_it_is_mended(
    federation: SmallFederation, witness: Witness, tmp_path: Path, off_s: int
) -> None:
    role = federation.coordinator
    with own_clock(role, tmp_path) as clock:
        audit = Coordinator.open(CoordinatorHome(role.home))
        plan = federation.write_plan("wrong-clock", rounds=3, timeout_s=TIMEOUT_S, **SOME_SECONDS)
        run_id = federation.launch(plan)
        federation.wait_for_step(VICTIM, run_id, round_number=2)
        clock.set(off_s)
        began = time.monotonic()
        wait_until(audit.clock.trouble, NOTICED_WITHIN_S, "the judgement")
        noticed_s = time.monotonic() - began
        wait_until(
            lambda: "the run waits: " in (role.home / "logs" / "runner.log").read_text(errors="replace"),
            NOTICED_WITHIN_S,
            "the word of it",
        )
        meanwhile = role.ask("run", "show", run_id)
        time.sleep(TIMEOUT_S / 4)
        still = role.ask("run", "show", run_id)
        clock.set(0)
        began = time.monotonic()
        wait_until(lambda: not audit.clock.trouble(), BACK_WITHIN_S, "the judgement")
        log.info("noticed after %.1f s, mended after %.1f s", noticed_s, time.monotonic() - began)
        shown = federation.finish(run_id)
        log.info("went on and ended after %.1f s", time.monotonic() - began)

    direction = "ahead of" if off_s > 0 else "behind"
    for one in (meanwhile, still):
        assert one["state"] == "running"
        assert f"clock is {DAY_S} seconds {direction} its sites'" in one["trouble"].replace(
            "86399", str(DAY_S)
        )
        assert one["num_finished"] == 1
    assert shown["state"] == "finished"
    assert shown["trouble"] == ""
    assert [states(one) for one in shown["rounds"]] == [dict.fromkeys(VENDORS, "admitted")] * 3
    witness.reckon(run_id, rounds=3)


@pytest.mark.timeout(600)
def test_a_site_whose_clock_is_a_day_off_is_told_left_out_and_back_when_it_is_mended(
    federation: SmallFederation, witness: Witness, tmp_path: Path
) -> None:
    role = federation.sites[VICTIM]
    with own_clock(role, tmp_path) as clock:
        plan = federation.write_plan("site-clock", rounds=3, timeout_s=3 * TIMEOUT_S, **SOME_SECONDS)
        run_id = federation.launch(plan)
        federation.wait_for_step(VICTIM, run_id, round_number=1)
        clock.set(DAY_S)
        began = time.monotonic()
        federation.wait_for_step(OTHER, run_id, round_number=1)
        with halted(federation.sites[OTHER], EXECUTOR):  # the run must not be over before the clock is mended
            wait_until(
                lambda: f"clock is {DAY_S} seconds ahead of" in " ".join(role.ask("status")["troubles"]),
                NOTICED_WITHIN_S,
                "the site's word of it",
            )
            told_s = time.monotonic() - began
            wait_until(lambda: not federation.is_all_online(), NOTICED_WITHIN_S, "the silence of the node")
            clock.set(0)
            began = time.monotonic()
            wait_until(federation.is_all_online, BACK_WITHIN_S, "the node")
            log.info("told after %.1f s, back after %.1f s", told_s, time.monotonic() - began)
        shown = federation.finish(run_id)

    assert shown["state"] == "finished"
    first, *_, last = [states(one) for one in shown["rounds"]]
    assert first == {**dict.fromkeys(VENDORS, "admitted"), VICTIM: "lost"}
    assert last == dict.fromkeys(VENDORS, "admitted")
    witness.reckon(run_id, rounds=3)
