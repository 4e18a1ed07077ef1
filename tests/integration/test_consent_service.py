"""Offers and statements between a site's home and a coordinator's store, over real TLS; and attacks on them.

After each attack the consent that the coordinator keeps is the one that it kept before.
"""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from client.consenting import Consenting, Decider, check_reason
from client.home import SiteHome
from client.plan_states import PlanState
from client.presence import leave, pause, resume
from client.renewal import rotate_keys
from client.store.audit import AuditLog
from client.store.ledger import Ledger, Rule
from client.store.opening import open_site_store
from server.launching import Launcher
from server.lifecycle import ConsentState, RunState
from server.store import Run
from shared.consent import consent_pb2, consent_pb2_grpc
from shared.consent.records import (
    DECISION_TYPE,
    NOTICE_TYPE,
    OFFER_TYPE,
    STATED_DECISION_TYPE,
    Decision,
    Notice,
    Offer,
    Presence,
    StatedDecision,
    Verdict,
)
from shared.errors import ConfigError, HomeError, PolicyError, TrustError, UnreachableError
from shared.persons.acting import Actor, who_acts
from shared.persons.roles import Role
from shared.plan import Plan, RoundsPlan
from shared.trust.envelope import Envelope, sign, verify
from shared.trust.keys import SigningKey
from tests.integration.member_coordinator import BUNDLE_SHA256, MemberCoordinator, channel_of

PLAN = Plan(name="density", rounds=RoundsPlan(count=3))
WHO = "local:it"
OWNER = Decider(actor=Actor(name="local:test", role=Role.ADMINISTRATOR), token=None)
POLICY = "data.min_examples = 1\negress.smallest_count = 1\n"
TIMEOUT_S = 10.0


@pytest.fixture
def home(members: MemberCoordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteHome:
    return with_data(members.member(tmp_path / "aarhus"), monkeypatch)


def with_data(home: SiteHome, monkeypatch: pytest.MonkeyPatch) -> SiteHome:
    """A home that may train: its policy is content with the data that it says it has."""
    home.policy_file.write_text(POLICY)
    home.approved_bundles_file.write_text(BUNDLE_SHA256)
    monkeypatch.setattr("client.catalog.Catalog.examples", lambda *_, **__: ["example"])
    return home


@pytest.fixture
def run_id(members: MemberCoordinator) -> str:
    return submit(members, PLAN, "run-1")


def submit(members: MemberCoordinator, plan: Plan, run_id: str) -> str:
    run = Run(
        run_id=run_id,
        name=plan.name,
        plan_sha256=plan.sha256,
        plan_toml=plan.to_toml(),
        state=RunState.SUBMITTED,
        created_at=time.time(),
    )
    members.coordinator.runs.submit(run, actor="test")
    return run_id


def stand(members: MemberCoordinator, run_id: str) -> list[tuple[str, ConsentState, str]]:
    """What the coordinator knows of the sites' consent."""
    return [(each.site_id, each.state, each.reason) for each in members.coordinator.consents.of_run(run_id)]


def approve(home: SiteHome, run_id: str) -> None:
    with Consenting(home) as consenting:
        consenting.tend()
        consenting.approve(run_id, OWNER)
        consenting.deliver()


APPROVED = [("site-aarhus", ConsentState.APPROVED, "")]

# -- as it should go


def test_an_approval_is_signed_by_the_site_and_kept_by_the_coordinator(
    members: MemberCoordinator, home: SiteHome, run_id: str
) -> None:
    with Consenting(home) as consenting:
        consenting.tend()
        assert stand(members, run_id) == [("site-aarhus", ConsentState.OFFERED, "")]
        assert consenting.plans.get(run_id).state is PlanState.WAITING

    approve(home, run_id)

    assert stand(members, run_id) == APPROVED
    (kept,) = members.coordinator.consents.of_run(run_id)
    assert kept.envelope is not None
    key = SigningKey.load(home.signing_key_file).verify_key
    payload = verify(Envelope.from_bytes(kept.envelope), STATED_DECISION_TYPE, key)
    decision = StatedDecision.from_bytes(payload).decision
    assert (decision.verdict, decision.plan_sha256, decision.actor) == (
        Verdict.APPROVED,
        PLAN.sha256,
        "owner",
    )
    assert members.event_names()[-1] == "plan.approved"


def test_a_named_persons_approval_bears_that_persons_signature(
    members: MemberCoordinator, home: SiteHome, run_id: str
) -> None:
    with Consenting(home) as consenting:
        token = consenting.persons.add("ada", Role.ADMINISTRATOR, actor="local:test", at=time.time())
        consenting.tend()
        actor = who_acts(consenting.persons, home=home.folder, token=token)
        consenting.approve(run_id, Decider(actor=actor, token=token))
        consenting.deliver()
        key = consenting.persons.find(token).verify_key

    (kept,) = members.coordinator.consents.of_run(run_id)
    assert kept.envelope is not None
    stated = StatedDecision.from_bytes(Envelope.from_bytes(kept.envelope).unverified_payload)
    stated.check_person()
    assert stated.decision.actor == "person:ada"
    assert stated == StatedDecision.of(stated.decision, key, _person_envelope(stated))


def _person_envelope(stated: StatedDecision) -> Envelope:
    return Envelope.from_bytes(base64.b64decode(stated.person_envelope))


def test_a_run_begins_when_its_quorum_approves_and_not_before(
    members: MemberCoordinator, home: SiteHome, run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = with_data(members.member(tmp_path / "bergen", "bergen"), monkeypatch)
    started: list[str] = []

    class Control:
        def start_run(self, run_id: str) -> int:
            started.append(run_id)
            return 1

    launcher = Launcher(members.coordinator, Control())
    approve(home, run_id)
    launcher.follow_consents()
    assert started == []

    approve(other, run_id)
    launcher.follow_consents()
    launcher.follow_consents()

    assert started == [run_id]


def test_a_run_that_too_many_sites_refuse_fails(
    members: MemberCoordinator, home: SiteHome, run_id: str, tmp_path: Path
) -> None:
    members.member(tmp_path / "bergen", "bergen")
    with Consenting(home) as consenting:
        consenting.tend()
        consenting.reject(run_id, "not this year", OWNER)
        consenting.deliver()

    Launcher(members.coordinator, None).follow_consents()

    assert members.coordinator.runs.get(run_id).state is RunState.FAILED
    assert stand(members, run_id)[0] == ("site-aarhus", ConsentState.REFUSED, "not this year")


def test_a_stopped_run_is_over_at_its_sites_and_their_approval_holds_on_when_it_is_resumed(
    members: MemberCoordinator, home: SiteHome, run_id: str
) -> None:
    approve(home, run_id)
    coordinator = members.coordinator

    coordinator.runs.stop(run_id, actor="person:ada", at=time.time())
    with Consenting(home) as consenting:
        consenting.tend()
        assert consenting.plans.get(run_id).state is PlanState.OVER
        with pytest.raises(PolicyError, match="is over"):
            consenting.approve(run_id, OWNER)

    coordinator.runs.resume(run_id, actor="person:ada", at=time.time())
    assert coordinator.consents.sites_in(ConsentState.APPROVED, run_id) == frozenset()
    with Consenting(home) as consenting:
        consenting.tend()
        assert consenting.plans.get(run_id).state is PlanState.APPROVED
    assert coordinator.consents.sites_in(ConsentState.APPROVED, run_id) == {"site-aarhus"}
    assert stand(members, run_id) == APPROVED
    names = [line.name for line in AuditLog(open_site_store(home.folder)).lines()]
    assert [name for name in names if name.startswith("plan.")] == ["plan.approved", "plan.reopened"]


def test_an_approval_that_is_taken_back_while_the_run_is_stopped_stays_so_when_it_is_resumed(
    members: MemberCoordinator, home: SiteHome, run_id: str
) -> None:
    approve(home, run_id)
    members.coordinator.runs.stop(run_id, actor="person:ada", at=time.time())
    with Consenting(home) as consenting:
        consenting.tend()
        consenting.reject(run_id, "not any more", OWNER)
        consenting.tend()

    members.coordinator.runs.resume(run_id, actor="person:ada", at=time.time())
    with Consenting(home) as consenting:
        consenting.tend()
        assert consenting.plans.get(run_id).state is PlanState.REJECTED

    assert stand(members, run_id) == [("site-aarhus", ConsentState.REFUSED, "not any more")]


def test_a_decision_that_could_not_be_told_is_told_when_the_coordinator_answers_again(
    members: MemberCoordinator, home: SiteHome, run_id: str
) -> None:
    with Consenting(home) as consenting:
        consenting.tend()
        consenting.approve(run_id, OWNER)
        assert stand(members, run_id) == [("site-aarhus", ConsentState.OFFERED, "")]

    with Consenting(home) as consenting:
        consenting.tend()

    assert stand(members, run_id) == APPROVED


def test_a_decision_made_before_the_keys_were_exchanged_is_told_under_the_new_key(
    members: MemberCoordinator, home: SiteHome, run_id: str
) -> None:
    with Consenting(home) as consenting:
        consenting.tend()
        consenting.approve(run_id, OWNER)
    rotate_keys(home, actor=WHO)

    with Consenting(home) as consenting:
        consenting.tend()

    assert stand(members, run_id) == APPROVED


def test_pause_resume_and_leave_are_known_at_once(
    members: MemberCoordinator, home: SiteHome, run_id: str
) -> None:
    assert pause(home, actor=WHO).told
    assert members.coordinator.consents.paused() == {"site-aarhus"}
    assert resume(home, actor=WHO).told
    assert members.coordinator.consents.paused() == frozenset()
    assert not home.paused_file.exists()

    assert leave(home, untold=False, actor=WHO).told

    at_the_site = [line for line in AuditLog(open_site_store(home.folder)).lines() if line.actor == WHO]
    assert [line.name for line in at_the_site] == ["site.paused", "site.resumed", "site.left"]
    assert members.event_names()[-4:] == ["site.paused", "site.resumed", "site.left", "site.revoked"]
    lines = Ledger(open_site_store(home.folder)).lines()
    assert [line.rule for line in lines if line.kind == "statement"] == [Rule.DECISIONS] * 3
    assert not members.coordinator.federation.is_active("site-aarhus")
    with pytest.raises(HomeError):
        home.membership()
    assert not [file for file in (home.folder / "keys").rglob("*.key") if file.name != "examples.key"]
    with Consenting(home) as consenting:
        assert {each.state for each in consenting.plans.all()} <= {PlanState.OVER}


def test_a_pause_holds_here_and_is_told_later_if_the_coordinator_is_away(
    members: MemberCoordinator, home: SiteHome
) -> None:
    members.stop()

    assert not pause(home, actor=WHO).told
    assert home.paused_file.exists()
    with pytest.raises(UnreachableError, match="cannot be told"):
        leave(home, untold=False, actor=WHO)
    assert home.has_joined()

    assert not leave(home, untold=True, actor=WHO).told

    assert not home.has_joined()


# -- attacks of a hostile site, or of somebody on its way


def state(home: SiteHome, envelope: bytes) -> str:
    """Say something to the coordinator as this home; the word of its refusal."""
    with channel_of(home) as channel, pytest.raises(grpc.RpcError) as refused:
        consent_pb2_grpc.ConsentStub(channel).State(
            consent_pb2.StateRequest(envelope=envelope), timeout=TIMEOUT_S
        )
    return refused.value.details()


def decision(**changes: Any) -> Decision:
    document = {
        "number": 2**40,
        "site_id": "site-aarhus",
        "run_id": "run-1",
        "plan_sha256": PLAN.sha256,
        "verdict": Verdict.REFUSED,
        "actor": "owner",
        "decided_at": time.time(),
        **changes,
    }
    return Decision.model_validate(document)


def stated(home: SiteHome, made: Decision, *, key: SigningKey | None = None, **persons: str) -> bytes:
    payload = StatedDecision(decision=made, **persons).to_bytes()
    return sign(STATED_DECISION_TYPE, payload, key or SigningKey.load(home.signing_key_file)).to_bytes()


def test_replaying_an_old_approval_after_it_was_taken_back_changes_nothing(
    members: MemberCoordinator, home: SiteHome, run_id: str
) -> None:
    approve(home, run_id)
    (old,) = members.coordinator.consents.of_run(run_id)
    with Consenting(home) as consenting:
        consenting.reject(run_id, "taken back", OWNER)
        consenting.deliver()

    assert old.envelope is not None
    assert state(home, old.envelope) == "TrustError"

    assert stand(members, run_id) == [("site-aarhus", ConsentState.REFUSED, "taken back")]


def test_replaying_an_old_notice_does_not_wake_a_paused_site(
    members: MemberCoordinator, home: SiteHome
) -> None:
    key = SigningKey.load(home.signing_key_file)
    resumed = Notice(number=1, site_id="site-aarhus", presence=Presence.RESUMED)
    pause(home, actor=WHO)

    assert state(home, sign(NOTICE_TYPE, resumed.to_bytes(), key).to_bytes()) == "TrustError"

    assert members.coordinator.consents.paused() == {"site-aarhus"}


@pytest.mark.parametrize("verdict", Verdict)
def test_a_site_that_speaks_for_another_one_changes_nothing(
    verdict: Verdict,
    members: MemberCoordinator,
    home: SiteHome,
    run_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = with_data(members.member(tmp_path / "bergen", "bergen"), monkeypatch)
    approve(home, run_id)
    with Consenting(other) as consenting:
        consenting.tend()
    before = stand(members, run_id)

    assert state(other, stated(other, decision(verdict=verdict))) == "TrustError"
    leaving = Notice(number=2**40, site_id="site-aarhus", presence=Presence.LEFT)
    key = SigningKey.load(other.signing_key_file)
    assert state(other, sign(NOTICE_TYPE, leaving.to_bytes(), key).to_bytes()) == "TrustError"

    assert stand(members, run_id) == before
    assert members.coordinator.federation.is_active("site-aarhus")


def test_a_decision_of_another_key_or_with_an_altered_body_changes_nothing(
    members: MemberCoordinator, home: SiteHome, run_id: str
) -> None:
    approve(home, run_id)
    by_stranger = stated(home, decision(), key=SigningKey.generate())
    honest = Envelope.from_bytes(stated(home, decision(verdict=Verdict.APPROVED)))
    body = StatedDecision(decision=decision()).to_bytes()
    altered = Envelope(
        payload_type=honest.payload_type,
        unverified_payload=body,
        key_id=honest.key_id,
        signature=honest.signature,
    )

    assert state(home, by_stranger) == "TrustError"
    assert state(home, altered.to_bytes()) == "TamperedError"
    assert state(home, b"{}") == "TamperedError"

    assert stand(members, run_id) == APPROVED


def test_a_decision_on_another_plan_or_on_a_run_that_was_not_offered_changes_nothing(
    members: MemberCoordinator, home: SiteHome, run_id: str
) -> None:
    approve(home, run_id)

    assert state(home, stated(home, decision(plan_sha256="a" * 64))) == "TrustError"
    assert state(home, stated(home, decision(run_id="run-2"))) == "NotFoundError"

    assert stand(members, run_id) == APPROVED


def test_a_persons_decision_without_that_persons_signature_over_it_changes_nothing(
    members: MemberCoordinator, home: SiteHome, run_id: str
) -> None:
    approve(home, run_id)
    key = SigningKey.generate()
    made = decision(actor="person:ada")
    over_another = sign(DECISION_TYPE, decision(actor="person:ada", number=7).to_bytes(), key)
    persons = StatedDecision.of(made, key.verify_key, over_another)
    borrowed = {"person_key": persons.person_key, "person_envelope": persons.person_envelope}

    assert state(home, stated(home, made)) in {"TrustError", "TamperedError"}
    assert state(home, stated(home, made, **borrowed)) == "TrustError"

    assert stand(members, run_id) == APPROVED


# -- attacks of a hostile coordinator


def offered(members: MemberCoordinator, key: SigningKey | None = None, **changes: Any) -> bytes:
    document = {
        "run_id": "run-1",
        "site_id": "site-aarhus",
        "plan_sha256": PLAN.sha256,
        "plan_toml": PLAN.to_toml(),
        "bundle_sha256": BUNDLE_SHA256,
        **changes,
    }
    return sign(
        OFFER_TYPE, Offer.model_validate(document).to_bytes(), key or members.coordinator.signing_key
    ).to_bytes()


LONGER = PLAN.model_copy(update={"rounds": RoundsPlan(count=4)})


@pytest.mark.parametrize(
    "attack",
    [
        "another plan for an approved run",
        "another bundle for an approved run",
        "a plan under another plan's hash",
        "an offer that somebody else has signed",
        "an offer for another site",
        "a plan that is none",
    ],
)
def test_an_offer_that_is_not_what_it_should_be_changes_nothing(
    attack: str,
    members: MemberCoordinator,
    home: SiteHome,
    run_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    approve(home, run_id)
    with Consenting(home) as consenting:
        before = consenting.plans.get(run_id)
    new = {"run_id": submit(members, LONGER, "run-2")}
    envelope = {
        "another plan for an approved run": lambda: offered(
            members, plan_sha256=LONGER.sha256, plan_toml=LONGER.to_toml()
        ),
        "another bundle for an approved run": lambda: offered(members, bundle_sha256="e" * 64),
        "a plan under another plan's hash": lambda: offered(members, plan_toml=LONGER.to_toml(), **new),
        "an offer that somebody else has signed": lambda: offered(members, SigningKey.generate(), **new),
        "an offer for another site": lambda: offered(members, site_id="site-bergen", **new),
        "a plan that is none": lambda: offered(members, plan_toml="import os", **new),
    }[attack]()
    attacked = run_id if "approved run" in attack else "run-2"
    honest = members.consents._offer
    monkeypatch.setattr(
        members.consents,
        "_offer",
        lambda run, site_id: envelope if run.run_id == attacked else honest(run, site_id),
    )

    with Consenting(home) as consenting:
        consenting.tend()
        after = {each.run_id: each for each in consenting.plans.all()}

    assert after[run_id] == before
    assert before.state is PlanState.APPROVED
    assert ("run-2" in after) == (attacked == run_id)


def test_a_revoked_site_is_offered_nothing(members: MemberCoordinator, home: SiteHome, run_id: str) -> None:
    members.revoke()

    with Consenting(home) as consenting, pytest.raises(TrustError, match="revoked"):
        consenting.tend()

    assert stand(members, run_id) == []


@pytest.mark.parametrize(
    "reason", ["", "see /home/ada/notes", "ada@example.org", "image 1.2.840.113619", "x" * 301, "a\x1b[2J"]
)
def test_a_reason_that_could_name_a_file_an_image_or_an_address_does_not_leave(reason: str) -> None:
    with pytest.raises(ConfigError, match="cannot leave"):
        check_reason(reason)
