"""What holds here although the coordinator does not take it, and what the person is told; over real TLS."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from client.consenting import Consenting
from client.home import SiteHome
from client.plan_states import PlanState
from client.presence import leave
from client.renewal import rotate_keys
from client.store.audit import AuditLog
from client.store.opening import open_site_store
from server.lifecycle import ConsentState, RunState
from server.store import Run
from shared.consent import consent_pb2_grpc
from shared.errors import StoreError, TrustError, UnreachableError
from shared.plan import Plan, RoundsPlan
from tests.integration.member_coordinator import BUNDLE_SHA256, MemberCoordinator

PLAN = Plan(name="density", rounds=RoundsPlan(count=3))
WHO = "local:it"
POLICY = "data.min_examples = 1\negress.smallest_count = 1\n"


@pytest.fixture
def home(members: MemberCoordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteHome:
    home = members.member(tmp_path / "aarhus")
    home.policy_file.write_text(POLICY)
    home.approved_bundles_file.write_text(BUNDLE_SHA256)
    monkeypatch.setattr("client.catalog.Catalog.examples", lambda *_, **__: ["example"])
    return home


@pytest.fixture
def run_id(members: MemberCoordinator, home: SiteHome) -> str:
    run = Run(
        run_id="run-1",
        name=PLAN.name,
        plan_sha256=PLAN.sha256,
        plan_toml=PLAN.to_toml(),
        state=RunState.SUBMITTED,
        created_at=time.time(),
    )
    members.coordinator.runs.submit(run, actor="test")
    with Consenting(home) as consenting:
        consenting.tend()
    return "run-1"


def command(home: SiteHome, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--home", str(home.folder), "--json"])


def said(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def state_here(home: SiteHome, run_id: str) -> PlanState:
    with Consenting(home) as consenting:
        return consenting.plans.get(run_id).state


def events(home: SiteHome) -> list[str]:
    return [line.name for line in AuditLog(open_site_store(home.folder)).lines()]


def stand(members: MemberCoordinator, run_id: str) -> list[ConsentState]:
    return [each.state for each in members.coordinator.consents.of_run(run_id)]


# -- a coordinator that fails, or refuses


def test_an_approval_that_meets_a_passing_fault_of_the_coordinator_is_told_later(
    members: MemberCoordinator, home: SiteHome, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreError("The store cannot be written.", "Free some space.")

    with monkeypatch.context() as broken:
        broken.setattr(members.coordinator.consents, "decide", full)
        assert said(command(home, "plan", "approve", run_id))["told"] is False
        assert stand(members, run_id) == [ConsentState.OFFERED]

    with Consenting(home) as consenting:
        consenting.tend()

    assert stand(members, run_id) == [ConsentState.APPROVED]


def test_an_approval_that_the_coordinator_refuses_is_not_called_given(
    members: MemberCoordinator, home: SiteHome, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise TrustError("A site's statement is older than the one that is kept.", "Decide again.")

    monkeypatch.setattr(members.coordinator.consents, "decide", refuse)

    ended = command(home, "plan", "approve", run_id)

    assert isinstance(ended.exception, TrustError)
    assert "refused to take" in ended.exception.message
    assert "approved" not in ended.stdout
    assert stand(members, run_id) == [ConsentState.OFFERED]


# -- a site that was revoked


def test_a_revoked_site_is_shown_its_plans_rejects_and_pauses_with_a_note(
    members: MemberCoordinator, home: SiteHome, run_id: str
) -> None:
    members.revoke()

    (shown,) = said(command(home, "plans"))
    assert shown["run_id"] == run_id
    assert "revoked" in said(command(home, "plan", "reject", run_id, "--reason", "not this year"))["note"]
    paused = said(command(home, "pause"))

    assert (paused["told"], "revoked" in paused["note"]) == (False, True)
    assert home.paused_file.exists()
    assert state_here(home, run_id) is PlanState.REJECTED


def test_an_approval_of_a_revoked_site_is_not_called_given(
    members: MemberCoordinator, home: SiteHome, run_id: str
) -> None:
    members.revoke()

    ended = command(home, "plan", "approve", run_id)

    assert isinstance(ended.exception, TrustError)
    assert "revoked" in ended.exception.message


def test_a_revoked_site_can_leave(members: MemberCoordinator, home: SiteHome) -> None:
    members.revoke()

    assert said(command(home, "leave", "--yes")) == {"state": "left", "told": True}

    assert not home.has_joined()
    assert events(home).count("site.left") == 1


def test_a_site_whose_farewell_was_heard_but_not_answered_can_leave(
    members: MemberCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lost(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAVAILABLE

        def details(self) -> str:
            return ""

    honest = consent_pb2_grpc.ConsentStub

    def losing(channel: grpc.Channel) -> Any:
        stub = honest(channel)  # type: ignore[no-untyped-call]
        send = stub.State

        def state(*arguments: Any, **named: Any) -> None:
            send(*arguments, **named)
            raise Lost

        stub.State = state
        return stub

    with monkeypatch.context() as line:
        line.setattr("client.consent_channel.consent_pb2_grpc.ConsentStub", losing)
        with pytest.raises(UnreachableError):
            leave(home, untold=False, actor=WHO)
    assert home.has_joined()
    assert not members.coordinator.federation.is_active("site-aarhus")

    assert leave(home, untold=False, actor=WHO).told

    assert not home.has_joined()


def test_leaving_untold_does_not_depend_on_what_the_coordinator_answers(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    copy = SiteHome(shutil.copytree(home.folder, tmp_path / "copy"))
    rotate_keys(home, actor=WHO)
    rotate_keys(home, actor=WHO)
    with pytest.raises(UnreachableError, match="cannot be told"):
        leave(copy, untold=False, actor=WHO)
    assert copy.has_joined()

    assert not leave(copy, untold=True, actor=WHO).told

    assert not copy.has_joined()
    assert members.coordinator.federation.is_active("site-aarhus")


# -- what is written down


def test_a_site_that_wished_to_leave_and_could_not_is_written_down_as_paused_and_not_as_gone(
    members: MemberCoordinator, home: SiteHome
) -> None:
    members.stop()
    for _ in range(2):
        with pytest.raises(UnreachableError):
            leave(home, untold=False, actor=WHO)

    assert "site.left" not in events(home)
    assert events(home).count("site.paused") == 1

    leave(home, untold=True, actor=WHO)

    assert events(home).count("site.left") == 1
