"""Approval, pause and leave between running processes: nothing comes in before a yes, and a no works at once.

One hospital of three asks for a person's approval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.federation import CommandError, Role, site, stopped_at_end, wait_until
from tests.e2e.small_federation import (
    POLICY,
    SmallFederation,
    bring_in,
    halted,
    processes_of,
    shared_federation,
    updates_of,
)

pytestmark = pytest.mark.slow

CAREFUL, OTHERS, VISITOR = "hospital-north", ("hospital-coast", "hospital-lake"), "hospital-visitor"
SOME_SECONDS = {"local_epochs": 12, "learning_rate": 0.001}
MANY_SECONDS = {**SOME_SECONDS, "local_epochs": 40}
"""A round that is long enough for a process to be halted in the middle of it."""

A_MINUTE = {**SOME_SECONDS, "local_epochs": 100, "batch_size": 1}
"""A round that is long enough for a command to come in the middle of it."""

SOON_S = 30.0
AT_ONCE_S = 10.0
EXECUTOR, RUNNER = "client.flower.executor", "server.flower.runner"


@pytest.fixture(scope="module", autouse=True)
def careful_policy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """One hospital wants to be asked, as long as these tests run."""
    policy = shared_federation(request.config, tmp_path_factory).sites[CAREFUL].home / "policy.toml"
    policy.write_text(POLICY.replace("not needed", "needed"))
    yield
    policy.write_text(POLICY)


def blobs_of(site: Role) -> set[Path]:
    """What has come to a site of plans and weights, or is on its way out."""
    return {file for file in (site.home / "blobs").rglob("*") if file.is_file()}


def plan_of(federation: SmallFederation, run_id: str) -> dict[str, Any]:
    """What the careful hospital knows of a run's plan."""
    (found,) = (row for row in federation.sites[CAREFUL].ask("plans") if row["run_id"] == run_id)
    return found


def stand_of(federation: SmallFederation, run_id: str) -> dict[str, str]:
    """Where each hospital stands, as the coordinator shows it."""
    consents = federation.coordinator.ask("run", "show", run_id)["consents"]
    return {each["site"]: each["state"] for each in consents}


def states(one: dict[str, Any]) -> dict[str, str]:
    """What became of each site in a round."""
    return {part["site"]: part["state"] for part in one["parts"]}


@pytest.mark.slow
def test_a_hospital_that_has_not_approved_receives_nothing_and_joins_the_round_after_its_approval(
    federation: SmallFederation,
) -> None:
    careful = federation.sites[CAREFUL]
    before = blobs_of(careful)
    plan = federation.write_plan("asked", rounds=3, aggregation={"bits": 8}, **SOME_SECONDS)
    run_id = federation.launch(plan)

    shown = careful.ask("plan", "show", run_id)
    assert shown["state"] == "waiting"
    assert all(rule["met"] for rule in shown["rules"])
    assert shown["leaves"]["metrics"]
    federation.wait_for_step(OTHERS[0], run_id, round_number=1)
    with halted(federation.coordinator, RUNNER):  # the run must not be over before the approval
        assert stand_of(federation, run_id) == {**dict.fromkeys(OTHERS, "approved"), CAREFUL: "offered"}
        assert blobs_of(careful) <= before
        assert run_id not in (careful.home / "logs" / "executor.log").read_text()
        approved = careful.ask("plan", "approve", run_id)
    finished = federation.finish(run_id)

    assert approved == {"run_id": run_id, "state": "approved", "told": True}
    first, *_, last = finished["rounds"]
    assert states(first) == dict.fromkeys(OTHERS, "admitted")
    assert states(last) == {**dict.fromkeys(OTHERS, "admitted"), CAREFUL: "admitted"}
    wait_until(lambda: plan_of(federation, run_id)["state"] == "over", SOON_S, "the end of the plan")
    # In passing: with 8 bits an update is at most a quarter of float32.
    sent = [update for role in federation.sites.values() for update in updates_of(role, run_id)]
    assert len(sent) >= 2 * 3 + 1
    assert max(update.share_of_float32 for update in sent) <= 0.25, sent


def test_a_rejected_plan_is_known_to_the_coordinator_with_its_reason_and_never_runs(
    federation: SmallFederation,
) -> None:
    careful = federation.sites[CAREFUL]
    run_id = federation.launch(federation.write_plan("rejected", rounds=1))

    careful.ask("plan", "reject", run_id, "--reason", "the ethics board has not met")
    finished = federation.finish(run_id)

    (north,) = (each for each in finished["consents"] if each["site"] == CAREFUL)
    assert (north["state"], north["reason"]) == ("refused", "the ethics board has not met")
    assert states(finished["rounds"][0]) == dict.fromkeys(OTHERS, "admitted")
    assert run_id not in (careful.home / "logs" / "executor.log").read_text()


def test_a_plan_that_breaks_the_policy_is_refused_without_anybody(federation: SmallFederation) -> None:
    careful = federation.sites[CAREFUL]
    policy = careful.home / "policy.toml"
    before = policy.read_text()
    policy.write_text(before + "limits.rounds = 2\n")
    run_id = federation.launch(federation.write_plan("too-long", rounds=3))

    finished = federation.finish(run_id)

    policy.write_text(before)
    (north,) = (each for each in finished["consents"] if each["site"] == CAREFUL)
    assert (north["state"], north["reason"]) == ("refused", "its policy: limits.rounds")
    assert CAREFUL not in states(finished["rounds"][0])


def test_a_run_that_too_few_hospitals_approve_fails_and_says_so(federation: SmallFederation) -> None:
    policies = {name: federation.sites[name].home / "policy.toml" for name in (CAREFUL, OTHERS[0])}
    before = {name: file.read_text() for name, file in policies.items()}
    for file in policies.values():
        file.write_text(f'{file.read_text()}privacy.noise = "required"\n')
    run_id = federation.launch(federation.write_plan("alone", rounds=1))

    with pytest.raises(CommandError, match="Too few sites approve"):
        federation.finish(run_id)

    for name, file in policies.items():
        file.write_text(before[name])
    assert federation.coordinator.ask("run", "show", run_id)["rounds"] == []


@pytest.mark.slow
def test_a_pause_stops_training_within_a_step_and_the_round_goes_on_without_the_site(
    federation: SmallFederation,
) -> None:
    paused = federation.sites[OTHERS[0]]
    run_id = federation.launch(federation.write_plan("paused", rounds=3, **MANY_SECONDS))
    federation.sites[CAREFUL].run("plan", "approve", run_id)
    federation.wait_for_step(OTHERS[0], run_id, round_number=1)

    with halted(paused, EXECUTOR):  # training must not be over before the pause
        assert paused.ask("pause")["told"]
    log_file = paused.home / "logs" / "executor.log"
    wait_until(lambda: "This site is paused" in log_file.read_text(), AT_ONCE_S, "the end of training")
    federation.wait_for_step(OTHERS[1], run_id, round_number=2)
    with halted(federation.coordinator, RUNNER):  # the run must not be over before the site is back
        assert paused.ask("resume")["told"]
    finished = federation.finish(run_id)

    first = finished["rounds"][0]
    (lost,) = (part for part in first["parts"] if part["site"] == OTHERS[0])
    assert (lost["state"], lost["reason"]) == ("lost", "the site has paused")
    assert finished["state"] == "finished"
    assert first["attempt"] == 1
    assert states(finished["rounds"][-1])[OTHERS[0]] == "admitted"


@pytest.fixture
def visitor(federation: SmallFederation) -> Iterator[Role]:
    """A fourth hospital, with the images of one of the others."""
    hospital = replace(federation.hospitals[0], name=VISITOR)
    role = federation.sites[VISITOR] = site(federation.folder / f"site-{VISITOR}")
    with stopped_at_end(role):
        bring_in(federation, hospital)
        yield role
    del federation.sites[VISITOR]


@pytest.mark.slow
def test_a_site_that_leaves_amid_a_round_is_out_at_once_and_keeps_its_data(
    federation: SmallFederation, visitor: Role
) -> None:
    num_examples = visitor.ask("data", "verify")["checked"]
    run_id = federation.launch(federation.write_plan("left", rounds=2, **A_MINUTE))
    federation.wait_for_step(VISITOR, run_id, round_number=1)

    assert visitor.ask("leave", "--yes") == {"state": "left", "told": True}
    assert visitor.process is not None
    assert visitor.process.wait(AT_ONCE_S) == 0
    visitor.process = None
    finished = federation.finish(run_id)

    assert finished["state"] == "finished"
    assert states(finished["rounds"][0])[VISITOR] == "lost"
    assert VISITOR not in states(finished["rounds"][1])
    listed = {row["name"]: row["state"] for row in federation.coordinator.ask("site", "list")}
    assert listed[VISITOR] == "revoked"
    assert processes_of(visitor.home) == []
    keys = {file.name for file in (visitor.home / "keys").rglob("*") if file.is_file()}
    assert keys == {"examples.key"}
    assert visitor.ask("data", "verify") == {"checked": num_examples, "damaged": []}
    with pytest.raises(CommandError, match="has not joined"):
        visitor.run("serve")
