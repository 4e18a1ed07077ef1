"""Coordinator and sites of different versions understand each other, or both say that they do not."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from deploy.demo.federation import CommandError, site
from server.coordinator import Coordinator
from server.exchange import OTHER_VERSION
from server.home import CoordinatorHome
from tests.e2e.small_federation import VENDORS, SmallFederation, halted
from tests.faults.reckoning import Witness
from tests.faults.versions import copy_of, running_version

pytestmark = pytest.mark.long

VICTIM, OTHER, EXECUTOR = "hospital-north", "hospital-coast", "client.flower.executor"
SOME_SECONDS = {"local_epochs": 12, "learning_rate": 0.005}
TIMEOUT_S = 120.0
NEXT = "0.2.0"


def states(one: dict) -> dict[str, str]:
    return {part["site"]: part["state"] for part in one["parts"]}


def test_a_coordinator_that_is_upgraded_between_rounds_goes_on_with_its_run(
    federation: SmallFederation, witness: Witness, tmp_path: Path
) -> None:
    role = federation.coordinator
    plan = federation.write_plan("upgrade", rounds=3, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=2)

    with running_version(role, copy_of(tmp_path / "next", NEXT)):
        shown = federation.finish(run_id)
        model = Coordinator.open(CoordinatorHome(role.home)).models.of_run(run_id)
        assert model is not None
        role.run("model", "download", model.model_id, "--output", str(tmp_path / "model"))

    assert shown["state"] == "finished"
    assert [states(one) for one in shown["rounds"]][2] == dict.fromkeys(VENDORS, "admitted")
    assert f"mammofed {NEXT}" in (tmp_path / "model" / "manifest.json").read_text()
    witness.reckon(run_id, rounds=3)


def test_a_site_of_an_older_protocol_is_left_out_and_both_sides_say_why(
    federation: SmallFederation, witness: Witness, tmp_path: Path
) -> None:
    role = federation.sites[VICTIM]
    plan = federation.write_plan("older-site", rounds=3, timeout_s=TIMEOUT_S, **SOME_SECONDS)
    run_id = federation.launch(plan)
    federation.wait_for_step(VICTIM, run_id, round_number=1)
    said = role.home / "logs" / "executor.log"

    before = len(said.read_text(errors="replace"))
    with contextlib.ExitStack() as stay:
        with halted(federation.sites[OTHER], EXECUTOR):  # the round must not be over before it is back
            stay.enter_context(running_version(role, copy_of(tmp_path / "older", "0.1.0", protocols_older=1)))
        shown = federation.finish(run_id)
    later = federation.launch(federation.write_plan("same-again", rounds=1, timeout_s=TIMEOUT_S))
    after = federation.finish(later)

    reasons = {part["reason"] for one in shown["rounds"] for part in one["parts"] if part["site"] == VICTIM}
    assert OTHER_VERSION in reasons
    assert "of protocol 2; this side speaks 1" in said.read_text(errors="replace")[before:]
    assert shown["state"] == "finished"
    witness.reckon(run_id, rounds=3)
    assert states(after["rounds"][0]) == dict.fromkeys(VENDORS, "admitted")


def test_a_site_of_an_older_protocol_that_joins_is_told_what_to_install(
    federation: SmallFederation, tmp_path: Path
) -> None:
    copy = copy_of(tmp_path / "older", "0.1.0", protocols_older=1)
    token = federation.coordinator.ask("site", "invite", "hospital-hill")["token"]
    older = site(tmp_path / "site", environment={"PYTHONPATH": str(copy)})

    with pytest.raises(CommandError, match="speaks another version of the enrolment protocol") as refused:
        older.run("join", token)

    assert "Install the version of mammofed that the coordinator runs" in str(refused.value)
    older.environment = {}
    older.run("join", token)  # the invitation was not used up
    federation.coordinator.run("site", "revoke", "hospital-hill")
