"""A coordinator that exchanges its root and its signing key: members follow by themselves, over real TLS."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

import client.renewal
import client.service
from client.contact import ContactNote
from client.flower.app import make_app
from client.home import SiteHome
from client.joining import join
from client.participation import _read
from client.renewal import is_under_older_root, renew
from client.service import Upkeep
from client.standing import is_member, learn
from client.store.audit import AuditLog
from client.store.opening import open_site_store
from client.workplace import catch_up, follow_membership, open_workplace
from deploy.demo.federation import wait_until
from server.coordinator import identity_of
from server.renewal import RenewalService
from shared.audit.chain import GENESIS
from shared.audit.checkpoints import Checkpoint, sign_checkpoint
from shared.errors import ConfigError, FingerprintError, TrustError, UnreachableError
from shared.flower.wire import MESSAGE_TYPE, pack, unpack
from shared.records import ANNOUNCEMENT_TYPE, REFUSAL_TYPE, Announcement, Occasion, Phase
from shared.transfer.blob_ref import BlobRef
from shared.transfer.rpc import listen, new_server
from shared.trust.chains import check_issued_by
from shared.trust.envelope import Envelope, sign
from shared.trust.issuing import Issuer, new_server_certificate
from shared.trust.keys import SigningKey, TlsKey
from shared.trust.tls import mutual_server_credentials
from tests.integration.member_coordinator import MemberCoordinator

TIMEOUT_S = 15.0


@pytest.fixture
def home(members: MemberCoordinator, tmp_path: Path) -> SiteHome:
    return members.member(tmp_path / "aarhus")


def announcement(home: SiteHome, key: SigningKey) -> bytes:
    blob = BlobRef.of(b"content")
    occasion = Occasion(
        run_id="run-1",
        plan_sha256="0" * 64,
        round_number=1,
        attempt=1,
        phase=Phase.TRAIN,
        site_id=home.membership().site_id,
        base_digest=blob.digest,
    )
    at_ms = round(time.time() * 1000)
    checkpoint = sign_checkpoint(Checkpoint(side="coordinator", sequence=0, head=GENESIS, at_ms=at_ms), key)
    asked = Announcement(
        occasion=occasion,
        plan=blob,
        base=blob,
        terms=None,
        counted=None,
        rejected=None,
        metrics=(),
        deadline=time.time() + 60,
        checkpoint=checkpoint.to_bytes().decode(),
    )
    return sign(ANNOUNCEMENT_TYPE, asked.to_bytes(), key).to_bytes()


# -- the signing key


def test_a_member_learns_the_new_signing_key_and_refuses_announcements_by_the_retired_one(
    members: MemberCoordinator, home: SiteHome
) -> None:
    retired = members.coordinator.signing_key
    _read(announcement(home, retired), home.membership())
    members.change_keys("signing")

    Upkeep(home, ContactNote(home.contact_file))._once()

    membership = home.membership()
    assert membership.anchors == members.coordinator.anchors
    _read(announcement(home, members.coordinator.signing_key), membership)
    with pytest.raises(TrustError, match="another key"):
        _read(announcement(home, retired), membership)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flower's messages are made within a task of its own."""
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def hand_over(app: ClientApp, envelope: bytes) -> Envelope:
    """What the site's app answers to a message of Flower's with this envelope."""
    message = Message(content=pack(envelope), dst_node_id=1, message_type=MESSAGE_TYPE)
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    return Envelope.from_bytes(unpack(app(message=message, context=context)))


def test_an_announcement_by_a_key_not_known_yet_makes_the_site_ask_before_it_judges(
    members: MemberCoordinator, home: SiteHome, task: None
) -> None:
    workplace, asked = open_workplace(home), []

    def ask() -> None:
        asked.append(True)
        catch_up(workplace, home)

    app, retired = make_app(workplace, ask), members.coordinator.signing_key
    # The site says no for want of the plan, and so has followed the announcement.
    assert hand_over(app, announcement(home, retired)).payload_type == REFUSAL_TYPE
    assert asked == []
    members.change_keys("signing")

    said = hand_over(app, announcement(home, members.coordinator.signing_key))

    assert said.payload_type == REFUSAL_TYPE
    assert asked == [True]
    for key in (retired, SigningKey.generate()):
        with pytest.raises(TrustError, match="another key"):
            hand_over(app, announcement(home, key))


def test_a_coordinator_that_does_not_answer_leaves_the_site_with_what_it_believes(
    members: MemberCoordinator, home: SiteHome, caplog: pytest.LogCaptureFixture
) -> None:
    workplace, before = open_workplace(home), home.membership()
    members.stop()

    catch_up(workplace, home)

    assert workplace.membership == home.membership() == before
    assert "The coordinator does not answer." in caplog.text
    members.start()


def test_a_service_without_its_coordinator_says_so_once_and_learns_soon_after_that_is_back(
    members: MemberCoordinator,
    home: SiteHome,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(client.service, "RETRY_EVERY_S", 0.05)
    tries, once = [], Upkeep._once

    def counted(upkeep: Upkeep) -> None:
        tries.append(True)
        once(upkeep)

    monkeypatch.setattr(Upkeep, "_once", counted)
    members.stop()
    upkeep = Upkeep(home, ContactNote(home.contact_file))

    upkeep.start()
    wait_until(lambda: len(tries) > 3, TIMEOUT_S, "some tries")
    members.change_keys("signing")
    wait_until(lambda: home.membership().anchors.version == 2, TIMEOUT_S, "the new key")

    assert caplog.text.count("The coordinator does not answer.") == 1
    upkeep.revoked.set()
    upkeep.look_now()


def test_a_member_that_was_away_for_several_changes_follows_them_all(
    members: MemberCoordinator, home: SiteHome
) -> None:
    before = home.membership().anchors
    members.change_keys("signing", "root", "signing")

    assert learn(home)
    assert learn(home)

    after = home.membership().anchors
    assert after == members.coordinator.anchors
    assert after.version == 4
    told = [line for line in AuditLog(open_site_store(home.folder)).lines() if line.subject == "coordinator"]
    assert [(line.actor, line.name, line.details["purpose"]) for line in told] == [
        ("site-aarhus", "keys.rotated", "signing"),
        ("site-aarhus", "keys.rotated", "root"),
    ]
    assert told[0].details["old_key_id"] == before.signing_key.key_id
    assert told[0].details["new_key_id"] == after.signing_key.key_id


# -- the root


def test_a_member_that_knows_only_the_old_root_comes_under_the_new_one_by_itself(
    members: MemberCoordinator, home: SiteHome
) -> None:
    workplace = open_workplace(home)
    blob = members.coordinator.blobs.put_bytes(b"weights")
    old_root = home.membership().anchors.root_pem
    members.change_keys("root")
    workplace.transfer.fetch(blob, workplace.blobs)
    assert is_member(home)

    Upkeep(home, ContactNote(home.contact_file))._once()

    membership = home.membership()
    assert membership.anchors.roots_pem == (members.coordinator.anchors.root_pem, old_root)
    check_issued_by(membership.certificate_pem, membership.anchors.root_pem)
    assert not is_under_older_root(membership)
    follow_membership(workplace, home)
    workplace.blobs.remove(blob.digest)
    workplace.transfer.fetch(blob, workplace.blobs)
    Upkeep(home, ContactNote(home.contact_file))._once()
    assert home.membership() == membership


def test_the_old_root_is_retired_once_every_member_has_come_over_and_not_before(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    away = members.member(tmp_path / "bergen", "bergen")
    members.change_keys("root")
    renew(home)

    with pytest.raises(ConfigError, match="needed by: bergen"):
        members.change_keys("retire")
    members.start()
    renew(away)
    members.change_keys("retire")

    for member in (home, away):
        assert learn(member)
        assert member.membership().anchors.roots_pem == (members.coordinator.anchors.root_pem,)


def test_a_member_that_left_the_old_root_behind_refuses_a_thief_of_its_key(
    members: MemberCoordinator, home: SiteHome
) -> None:
    stolen_pem, stolen_key = (
        members.home.root_certificate_file.read_bytes(),
        TlsKey.load(members.home.root_key_file),
    )
    members.change_keys("root")
    renew(home)
    members.change_keys("retire")
    learn(home)
    before = home.membership()
    members.stop()
    key = TlsKey.generate()
    chain_pem = new_server_certificate(
        hosts=["127.0.0.1"],
        key=key,
        root_pem=stolen_pem,
        issuer=Issuer(certificate_pem=stolen_pem, key=stolen_key),
        now=time.time(),
    )
    thief = serve_standing(members, chain_pem, key, ())

    with pytest.raises(TrustError, match="not of this federation"):
        learn(home)

    thief.stop(None).wait(10)
    assert home.membership() == before
    members.start()
    assert learn(home)


def test_a_thief_of_the_root_key_alone_cannot_move_a_member_to_keys_of_his_own(
    members: MemberCoordinator, home: SiteHome
) -> None:
    before, own = home.membership(), SigningKey.generate()
    moved = before.anchors.with_signing_key(own.verify_key, now=time.time())
    chain_pem, key = members.home.tls_chain_file.read_bytes(), TlsKey.load(members.home.tls_key_file)
    members.stop()
    thief = serve_standing(members, chain_pem, key, (moved.signed(own),))

    with pytest.raises(TrustError, match="another key"):
        learn(home)
    with pytest.raises(TrustError, match="another key"):
        renew(home)

    thief.stop(None).wait(10)
    assert home.membership() == before
    members.start()
    renew(home)


def serve_standing(members: MemberCoordinator, chain_pem: bytes, key: TlsKey, statements: tuple[bytes, ...]):
    """A server in the coordinator's place that believes every certificate and states what it likes."""
    service = RenewalService(
        coordinator=replace(identity_of(members.home), statements=statements),
        federation=members.coordinator.federation,
        memberships=members.coordinator.memberships,
        clock=time.time,
        is_clock_right=lambda: True,
        on_renewed=lambda _site_id: None,
    )
    server = new_server(num_threads=4)
    service.add_to(server)
    credentials = mutual_server_credentials(
        chain_pem=chain_pem, key=key, root_pem=members.coordinator.anchors.bundle_pem
    )
    listen(server, "127.0.0.1", members.home.settings().transfer_port, credentials)
    return server


def test_a_reply_that_was_lost_before_a_change_of_root_does_not_keep_a_member_from_coming_over(
    members: MemberCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_reply(*_: object) -> None:
        raise UnreachableError("The connection broke.", "Try again.")

    with monkeypatch.context() as broken:
        broken.setattr(client.renewal, "_checked", lose_the_reply)
        with pytest.raises(UnreachableError):
            renew(home)
    members.change_keys("root")

    for _ in range(2):
        Upkeep(home, ContactNote(home.contact_file))._once()

    assert not is_under_older_root(home.membership())
    members.change_keys("retire")
    assert learn(home)


# -- who joins after a change


def test_a_hospital_that_joins_after_a_change_believes_what_the_others_do(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    members.change_keys("signing", "root")

    bergen = members.member(tmp_path / "bergen", "bergen")

    learn(home)
    assert bergen.membership().anchors == home.membership().anchors
    members.change_keys("signing")
    learn(bergen)
    assert bergen.membership().anchors == members.coordinator.anchors


def test_an_invitation_from_before_a_change_of_root_says_what_to_do_and_is_not_used_up(
    members: MemberCoordinator, tmp_path: Path
) -> None:
    token = members.invite("aarhus")
    members.change_keys("root")

    with pytest.raises(FingerprintError) as caught:
        join(SiteHome(tmp_path / "aarhus"), token, actor="local:test")

    assert "changed its root, ask for a new invitation" in caught.value.hint
    assert members.coordinator.federation.invited(now=time.time()) == ["aarhus"]
    assert members.coordinator.federation.sites() == []
