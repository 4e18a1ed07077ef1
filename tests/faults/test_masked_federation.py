"""Secure aggregation between running processes: a site is killed, and the model is exact to the last bit."""

from __future__ import annotations

import pytest

from deploy.demo.federation import wait_until
from tests.e2e.small_federation import VENDORS, SmallFederation
from tests.faults.reckoning import Witness
from tests.faults.test_killed_site import SOME_SECONDS, start_and_connect, states

VICTIM = "hospital-north"
TIMEOUT_S = 120.0


@pytest.mark.slow
def test_a_masked_run_comes_to_the_bytes_of_the_plain_sum(
    federation: SmallFederation, witness: Witness
) -> None:
    plan = federation.write_plan("masked", rounds=2, timeout_s=TIMEOUT_S, is_masked=True)

    run_id = federation.launch(plan)
    shown = federation.finish(run_id)

    assert shown["state"] == "finished"
    assert [states(one) for one in shown["rounds"]] == [dict.fromkeys(VENDORS, "admitted")] * 2
    witness.reckon(run_id, rounds=2)
    left = [line for role in federation.sites.values() for line in role.ask("ledger", "--run", run_id)]
    assert {line["rule"] for line in left if line["kind"] == "update"} == {"masked-weights"}
    assert sum(line["kind"] == "update" for line in left) == 2 * len(VENDORS)


@pytest.mark.long
def test_a_site_killed_under_masks_costs_its_own_update_and_the_sum_of_the_others_is_exact(
    federation: SmallFederation, witness: Witness
) -> None:
    plan = federation.write_plan(
        "masked-killed", rounds=2, timeout_s=TIMEOUT_S, is_masked=True, **SOME_SECONDS
    )
    victim = federation.sites[VICTIM]

    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=1, step=2)
    victim.kill()
    wait_until(
        lambda: federation.coordinator.ask("run", "show", run_id)["rounds"][0]["state"] == "aggregated",
        TIMEOUT_S,
        "the round without the site that was killed",
    )
    start_and_connect(victim)  # the next round wants three sites again
    shown = federation.finish(run_id)

    first, second = shown["rounds"]
    assert shown["state"] == "finished"
    assert states(first) == {name: "lost" if name == VICTIM else "admitted" for name in VENDORS}
    assert states(second) == dict.fromkeys(VENDORS, "admitted")
    assert {one["attempt"] for one in shown["rounds"]} == {1}
    witness.reckon(run_id, rounds=2)
