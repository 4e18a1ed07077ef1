"""Staying in a federation and leaving it: approval, renewal, exchange of keys, revocation; over real TLS."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from sqlalchemy import text

import client.joining
import client.renewal
import client.service
import client.standing
from client.contact import ContactNote
from client.home import SiteHome
from client.joining import join
from client.renewal import renew, rotate_keys
from client.service import Upkeep
from client.standing import check_standing, is_member
from client.store.audit import AuditLog
from client.store.ledger import Ledger
from client.store.opening import open_site_store
from client.workplace import follow_membership, open_workplace
from server.coordinator import identity_of
from shared.enrolment import renewal_pb2, renewal_pb2_grpc
from shared.enrolment.refusal import Refusal
from shared.errors import (
    AggregationError,
    ConfigError,
    EnrolmentError,
    NotFoundError,
    StoreError,
    TokenError,
    TrustError,
    UnreachableError,
)
from shared.store import transaction
from shared.transfer import transfer_pb2, transfer_pb2_grpc
from shared.transfer.blob_ref import BlobRef
from shared.transfer.rpc import SENT_CHUNK_BYTES
from shared.trust.keys import NodeKey, SigningKey, TlsKey
from shared.trust.signing_request import new_csr
from tests.integration.member_coordinator import MemberCoordinator, channel_of
from tests.unit.shared.persons.sides import SideAtTerminal

CALL_TIMEOUT_S = 10.0
MB = 1_000_000


@pytest.fixture
def home(members: MemberCoordinator, tmp_path: Path) -> SiteHome:
    return members.member(tmp_path / "aarhus")


def stat(channel: grpc.Channel) -> transfer_pb2.StatReply:
    request = transfer_pb2.StatRequest(digest="0" * 64, size_bytes=1)
    with channel:
        return transfer_pb2_grpc.TransferStub(channel).Stat(request, timeout=CALL_TIMEOUT_S)


def refusal_of(channel: grpc.Channel) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as refused:
        stat(channel)
    return refused.value.code(), refused.value.details()


REVOKED = (grpc.StatusCode.PERMISSION_DENIED, "revoked")
NOT_ACCEPTED = (grpc.StatusCode.UNAUTHENTICATED, "certificate")


# -- revocation


def test_a_revoked_site_is_told_so_wherever_it_asks_and_others_are_not_touched(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    other = members.member(tmp_path / "bergen", "bergen")
    stat(channel_of(home))

    members.revoke()

    assert refusal_of(channel_of(home)) == REVOKED
    assert not is_member(home)
    for ask in (check_standing, renew, partial(rotate_keys, actor="local:test")):
        with pytest.raises(TrustError, match="This site was revoked by the coordinator"):
            ask(home)
    assert is_member(other)
    stat(channel_of(other))


def test_a_revoked_sites_node_is_ended_and_no_other(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    members.member(tmp_path / "bergen", "bergen")
    members.nodes.follow_register()
    assert len(members.superlink.nodes()) == 2

    members.revoke()
    members.nodes.follow_register()

    (left,) = members.coordinator.federation.active()
    assert left.name == "bergen"
    assert set(members.superlink.nodes()) == {left.node_id}


def test_a_superlink_that_starts_anew_learns_of_no_revoked_site(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    members.member(tmp_path / "bergen", "bergen")
    members.revoke()
    members.superlink.ids.clear()

    members.nodes.introduce_all()

    (left,) = members.coordinator.federation.active()
    assert set(members.superlink.nodes()) == {left.node_id}


def test_a_superlink_that_was_started_again_learns_of_every_site_when_it_answers(
    members: MemberCoordinator, home: SiteHome
) -> None:
    members.superlink.ids.clear()

    members.nodes.forget()
    members.nodes.follow_register()

    (site,) = members.coordinator.federation.active()
    assert set(members.superlink.nodes()) == {site.node_id}


def test_a_site_that_joined_while_the_superlink_was_away_gets_its_node_later(
    members: MemberCoordinator, home: SiteHome
) -> None:
    members.superlink.ids.clear()
    members.coordinator.federation.forget_nodes()

    members.nodes.follow_register()

    (site,) = members.coordinator.federation.active()
    assert set(members.superlink.nodes()) == {site.node_id}


def test_a_running_site_whose_clock_is_a_day_off_is_told_and_well_again_when_it_is_mended(
    members: MemberCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    upkeep = Upkeep(home, ContactNote(home.contact_file))
    with monkeypatch.context() as wrong:
        wrong.setattr(client.standing, "time", SimpleNamespace(time=lambda: time.time() + 86_400))
        with pytest.raises(TrustError, match="clock is 86400 seconds ahead of the coordinator's"):
            upkeep._once()

    upkeep._once()

    assert not upkeep.revoked.is_set()


def test_the_coordinator_learns_at_once_of_the_version_to_which_a_site_was_updated(
    members: MemberCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("client.service", "client.renewal"):
        monkeypatch.setattr(f"{module}.version", lambda _name: "0.9.1")
    upkeep = Upkeep(home, ContactNote(home.contact_file))

    upkeep._once()

    (site,) = members.coordinator.federation.sites()
    assert site.software_version == "0.9.1"
    generation = home.membership().key_generation
    upkeep._once()
    assert home.membership().key_generation == generation  # told once


def test_a_download_under_way_is_cut_within_a_second_of_the_revocation(
    members: MemberCoordinator, home: SiteHome
) -> None:
    blob = members.coordinator.blobs.put_bytes(bytes(64 * MB))
    with channel_of(home) as channel:
        stream = transfer_pb2_grpc.TransferStub(channel).Fetch(
            transfer_pb2.FetchRequest(digest=blob.digest), timeout=CALL_TIMEOUT_S
        )
        received = len(next(stream).data)

        members.revoke()
        revoked_at = time.monotonic()
        with pytest.raises(grpc.RpcError) as cut:
            for chunk in stream:
                received += len(chunk.data)
                time.sleep(0.01)

    assert time.monotonic() - revoked_at < 1
    assert (cut.value.code(), cut.value.details()) == REVOKED
    assert received < blob.size_bytes


def test_an_upload_under_way_is_cut_and_what_has_arrived_is_no_blob(
    members: MemberCoordinator, home: SiteHome
) -> None:
    content = bytes(4 * MB)
    blob, revoked_at = BlobRef.of(content), []

    def parts() -> Iterator[transfer_pb2.SendPart]:
        yield transfer_pb2.SendPart(
            header=transfer_pb2.SendHeader(digest=blob.digest, size_bytes=blob.size_bytes)
        )
        for start in range(0, len(content), SENT_CHUNK_BYTES):
            if start == 4 * SENT_CHUNK_BYTES:
                members.revoke()
                revoked_at.append(time.monotonic())
            time.sleep(0.1 if revoked_at else 0)
            yield transfer_pb2.SendPart(data=content[start : start + SENT_CHUNK_BYTES])

    with channel_of(home) as channel, pytest.raises(grpc.RpcError) as cut:
        transfer_pb2_grpc.TransferStub(channel).Send(parts(), timeout=CALL_TIMEOUT_S)

    assert time.monotonic() - revoked_at[0] < 1
    assert (cut.value.code(), cut.value.details()) == REVOKED
    assert not members.coordinator.blobs.has(blob.digest)


def test_a_revocation_is_final_and_in_the_trail_with_its_reason(
    members: MemberCoordinator, home: SiteHome
) -> None:
    members.revoke()

    with pytest.raises(AggregationError, match="from revoked to revoked"):
        members.revoke()
    with pytest.raises(NotFoundError, match="No site is named 'nobody'"):
        members.revoke("nobody")

    (event,) = [one for one in members.coordinator.audit.lines() if one.name == "site.revoked"]
    assert (event.actor, event.subject, event.details["reason"]) == ("test", "site-aarhus", "test")


def test_the_invitation_of_a_revoked_site_gives_its_own_keys_nothing_any_more(
    members: MemberCoordinator, tmp_path: Path
) -> None:
    token, home = members.invite("aarhus"), SiteHome(tmp_path / "aarhus")
    join(home, token, actor="local:test")
    members.revoke()
    home.membership_file.unlink()

    with pytest.raises(TokenError, match="already used"):
        join(home, token, actor="local:test")


def test_a_service_whose_site_was_revoked_stops_asking(
    members: MemberCoordinator, home: SiteHome, caplog: pytest.LogCaptureFixture
) -> None:
    members.revoke()
    upkeep = Upkeep(home, ContactNote(home.contact_file))

    upkeep.start()

    assert upkeep.revoked.wait(CALL_TIMEOUT_S)
    assert caplog.messages.count("This site was revoked by the coordinator.") == 1


# -- invitations that are withdrawn


def test_a_withdrawn_invitation_lets_nobody_in(members: MemberCoordinator, tmp_path: Path) -> None:
    token = members.invite("aarhus")

    assert members.coordinator.federation.withdraw("aarhus", now=time.time(), actor="ada") == 1

    with pytest.raises(TokenError, match="withdrawn"):
        join(SiteHome(tmp_path / "aarhus"), token, actor="local:test")
    assert members.coordinator.federation.sites() == []
    assert members.event_names()[-1] == "site.withdrawn"


def test_what_is_used_or_was_never_given_cannot_be_withdrawn(
    members: MemberCoordinator, home: SiteHome
) -> None:
    for name in ("aarhus", "nobody"):
        with pytest.raises(NotFoundError, match="no open invitation"):
            members.coordinator.federation.withdraw(name, now=time.time(), actor="ada")
    assert is_member(home)


# -- approval by hand


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.joining, "APPROVAL_POLL_S", 0.05)


def approve(members: MemberCoordinator, fingerprint: str, name: str = "aarhus") -> None:
    members.coordinator.applications.approve(
        name, fingerprint=fingerprint, issue=issue_for(members), now=time.time(), actor="ada"
    )


def issue_for(members: MemberCoordinator):
    identity = identity_of(members.home)
    return lambda keys, site_id: identity.issue(keys.csr_pem, site_id, now=time.time())


def test_a_site_waits_for_approval_and_is_let_in_with_the_keys_whose_fingerprint_both_saw(
    members: MemberCoordinator, tmp_path: Path, impatient: None
) -> None:
    home, seen = SiteHome(tmp_path / "aarhus"), []

    def telephone(fingerprint: str) -> None:
        seen.append(fingerprint)
        (waiting,) = members.coordinator.applications.waiting()
        assert waiting.keys.fingerprint == fingerprint
        assert members.coordinator.federation.sites() == []
        assert not home.has_joined()
        threading.Timer(0.3, approve, (members, fingerprint)).start()

    membership = join(home, members.invite("aarhus", by_hand=True), actor="local:test", on_waiting=telephone)

    assert len(seen) == 1
    assert [len(group) for group in seen[0].split()] == [4] * 16
    assert membership.site_id == "site-aarhus"
    assert members.coordinator.applications.waiting() == []
    assert is_member(home)
    (site,) = members.coordinator.federation.active()
    assert site.node_id in members.superlink.nodes()
    assert members.event_names()[-4:] == ["site.invited", "site.applied", "site.approved", "site.enrolled"]


def test_a_thief_of_the_token_who_comes_first_shows_another_fingerprint_and_is_not_let_in(
    members: MemberCoordinator, tmp_path: Path, impatient: None
) -> None:
    thief, token = SiteHome(tmp_path / "thief"), members.invite("aarhus", by_hand=True)
    stealing = threading.Thread(target=_join_in_vain, args=(thief, token), daemon=True)
    stealing.start()
    deadline = time.monotonic() + CALL_TIMEOUT_S
    while not members.coordinator.applications.waiting():
        assert time.monotonic() < deadline
        time.sleep(0.01)

    with pytest.raises(TokenError, match="already used"):
        join(SiteHome(tmp_path / "aarhus"), token, actor="local:test")
    with pytest.raises(ConfigError, match="another fingerprint"):
        approve(members, "0000 " * 15 + "0000")

    assert members.coordinator.federation.sites() == []
    members.coordinator.applications.reject("aarhus", now=time.time(), actor="ada")
    stealing.join(CALL_TIMEOUT_S)
    assert not thief.has_joined()


def _join_in_vain(home: SiteHome, token: object) -> None:
    with pytest.raises(EnrolmentError, match="rejected"):
        join(home, token, actor="local:test")


def test_a_rejected_site_is_told_so_and_stays_rejected(
    members: MemberCoordinator, tmp_path: Path, impatient: None
) -> None:
    home, token = SiteHome(tmp_path / "aarhus"), members.invite("aarhus", by_hand=True)

    def reject(_fingerprint: str) -> None:
        members.coordinator.applications.reject("aarhus", now=time.time(), actor="ada")

    for _ in range(2):
        with pytest.raises(EnrolmentError, match="rejected this site"):
            join(home, token, actor="local:test", on_waiting=reject)
    assert not home.has_joined()
    with pytest.raises(NotFoundError, match="waits for approval"):
        approve(members, "")


def test_an_invitation_that_is_withdrawn_while_a_site_waits_ends_the_waiting(
    members: MemberCoordinator, tmp_path: Path, impatient: None
) -> None:
    def withdraw(_fingerprint: str) -> None:
        members.coordinator.federation.withdraw("aarhus", now=time.time(), actor="ada")

    with pytest.raises(TokenError, match="withdrawn"):
        join(
            SiteHome(tmp_path / "aarhus"),
            members.invite("aarhus", by_hand=True),
            actor="local:test",
            on_waiting=withdraw,
        )
    assert members.coordinator.applications.waiting() == []


# -- renewal


def public_keys(home: SiteHome) -> tuple[bytes, str]:
    signing_key, node_key = SigningKey.load(home.signing_key_file), NodeKey.load(home.node_key_file)
    return signing_key.verify_key.raw, node_key.public.text


def test_a_renewed_site_has_a_new_key_and_certificate_and_is_the_same_site(
    members: MemberCoordinator, home: SiteHome
) -> None:
    before = home.membership()
    signing, node = public_keys(home)
    tls = home.tls_key_file.read_bytes()

    after = renew(home)

    assert home.membership() == after
    assert after.certificate_pem != before.certificate_pem
    assert replace(after, certificate_pem=before.certificate_pem, key_generation=0) == before
    assert home.tls_key_file.read_bytes() != tls
    assert public_keys(home) == (signing, node)
    stat(channel_of(home))
    (site,) = members.coordinator.federation.active()
    assert site.certificate_pem == after.certificate_pem
    assert members.event_names()[-1] == "site.renewed"


def test_joining_renewing_and_exchanging_keys_is_written_down_at_the_site_with_what_left(
    members: MemberCoordinator, home: SiteHome
) -> None:
    renew(home)
    old = SigningKey.load(home.signing_key_file).verify_key.key_id
    rotate_keys(home, actor="person:ada")

    engine = open_site_store(home.folder)
    lines = list(AuditLog(engine).lines())
    assert [(line.actor, line.name) for line in lines] == [
        ("local:test", "site.joined"),
        ("site-aarhus", "site.renewed"),
        ("person:ada", "site.renewed"),
        ("person:ada", "keys.rotated"),
    ]
    assert [line.details["signing_key_changed"] for line in lines[1:3]] == [False, True]
    new = SigningKey.load(home.signing_key_file).verify_key.key_id
    assert lines[3].details == {"purpose": "signing", "old_key_id": old, "new_key_id": new}
    left = Ledger(engine).lines()
    assert [(line.kind, line.rule, line.run_id) for line in left] == [
        ("enrolment", "public-keys", None),
        ("renewal", "public-keys", None),
        ("renewal", "public-keys", None),
    ]
    assert {"csr_pem", "signing_public_key", "node_public_key", "software_version"} < set(left[0].names)


def test_keys_are_not_exchanged_by_an_operator_nor_by_nobody(
    members: MemberCoordinator, home: SiteHome
) -> None:
    side, before = SideAtTerminal("site", home.folder), home.membership()
    ada = side.call("user", "add", "ada", "--role", "administrator")["token"]
    bob = side.call("user", "add", "bob", "--role", "operator", token=ada)["token"]

    for token in ("", bob):
        with pytest.raises(TrustError):
            side.call("keys", "rotate", token=token)

    assert home.membership() == before
    side.call("keys", "rotate", token=ada)
    assert ("person:ada", "keys.rotated") in side.deeds()


def test_no_key_leaves_while_the_ledger_cannot_be_written(members: MemberCoordinator, home: SiteHome) -> None:
    before = home.membership()
    with transaction(open_site_store(home.folder)) as connection:
        connection.execute(text("ALTER TABLE ledger RENAME TO moved"))

    with pytest.raises(StoreError):
        renew(home)

    assert home.membership() == before
    assert "site.renewed" not in members.event_names()


def test_keys_that_were_replaced_are_gone_from_the_disk(members: MemberCoordinator, home: SiteHome) -> None:
    for _ in range(3):
        renew(home)

    kept = sorted(str(file.relative_to(home.folder)) for file in home.folder.glob("keys/**/*.key"))
    assert kept == ["keys/3/node.key", "keys/3/signing.key", "keys/3/tls.key"]


def test_a_replaced_certificate_is_good_until_the_new_one_moves_a_blob_and_then_for_nothing(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    before, key = home.membership(), home.keys(0).tls.read_bytes()

    renew(home)
    home.keys(9).folder.mkdir(parents=True)
    home.keys(9).tls.write_bytes(key)

    def old() -> grpc.Channel:
        return channel_of(home, generation=9, certificate_pem=before.certificate_pem)

    stat(old())
    assert is_member(home)
    stat(old())
    stat(channel_of(home))
    assert refusal_of(old()) == NOT_ACCEPTED


def test_a_lost_reply_is_asked_for_again_with_the_same_keys_and_locks_nobody_out(
    members: MemberCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = home.membership()
    with monkeypatch.context() as broken:
        broken.setattr(client.renewal, "_checked", _lose_the_reply)
        for attempt in (renew, partial(rotate_keys, actor="local:test")):
            with pytest.raises(UnreachableError):
                attempt(home)
    assert home.membership() == before
    stat(channel_of(home))
    (recorded,) = members.coordinator.federation.active()

    after = renew(home)

    assert after.certificate_pem == recorded.certificate_pem
    assert members.event_names().count("site.renewed") == 1
    stat(channel_of(home))


def _lose_the_reply(*_: object) -> None:
    raise UnreachableError("The connection broke.", "Try again.")


def test_a_site_that_lost_its_new_keys_with_the_reply_renews_by_its_old_ones(
    members: MemberCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(client.renewal, "_checked", _lose_the_reply)
        with pytest.raises(UnreachableError):
            rotate_keys(home, actor="local:test")
    home.keys(1).folder.rename(home.folder / "lost")

    renew(home)

    stat(channel_of(home))
    (site,) = members.coordinator.federation.active()
    assert site.signing_public_key == SigningKey.load(home.signing_key_file).verify_key.raw
    assert site.next_node_public_key is None


def test_exchanged_keys_are_the_sites_from_then_on_and_the_site_id_stays(
    members: MemberCoordinator, home: SiteHome
) -> None:
    old = SigningKey.load(home.signing_key_file).verify_key
    announced_at = time.time()

    after = rotate_keys(home, actor="local:test")

    new = SigningKey.load(home.signing_key_file).verify_key
    memberships = members.coordinator.memberships
    assert (after.site_id, new == old) == ("site-aarhus", False)
    assert memberships.signing_keys("site-aarhus", announced_at=time.time()) == (new, old)
    stat(channel_of(home))
    assert memberships.signing_keys("site-aarhus", announced_at=time.time()) == (new,)
    assert memberships.signing_keys("site-aarhus", announced_at=announced_at) == (new, old)


def test_a_site_keeps_its_old_node_until_the_one_of_its_new_key_is_online(
    members: MemberCoordinator, home: SiteHome
) -> None:
    (before,) = members.coordinator.federation.active()

    rotate_keys(home, actor="local:test")
    members.nodes.follow_register()

    (waiting,) = members.coordinator.federation.active()
    assert waiting.node_id == before.node_id
    assert set(members.superlink.nodes()) == {before.node_id, waiting.next_node_id}

    members.superlink.online.add(waiting.next_node_id)
    members.nodes.follow_register()

    (after,) = members.coordinator.federation.active()
    assert after.node_id == waiting.next_node_id
    assert after.node_public_key == NodeKey.load(home.node_key_file).public.text
    assert set(members.superlink.nodes()) == {after.node_id}


def test_a_superlink_that_starts_anew_amid_an_exchange_of_keys_learns_of_both_nodes(
    members: MemberCoordinator, home: SiteHome
) -> None:
    rotate_keys(home, actor="local:test")
    members.superlink.ids.clear()

    members.nodes.introduce_all()

    (site,) = members.coordinator.federation.active()
    assert set(members.superlink.nodes()) == {site.node_id, site.next_node_id}


def test_a_thief_of_the_tls_key_alone_cannot_renew(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    assert is_member(home)
    before = members.coordinator.federation.active()
    thief = SiteHome(tmp_path / "thief")
    thief.write_membership(home.membership())
    TlsKey.load(home.tls_key_file).save(thief.tls_key_file)
    SigningKey.generate().save(thief.signing_key_file)
    NodeKey.generate().save(thief.node_key_file)

    for attempt in (renew, partial(rotate_keys, actor="local:test")):
        with pytest.raises(EnrolmentError, match="private keys"):
            attempt(thief)

    assert members.coordinator.federation.active() == before
    renew(home)


def test_a_thief_of_the_root_key_who_issues_himself_a_sites_certificate_is_not_let_in(
    members: MemberCoordinator, home: SiteHome
) -> None:
    before = members.coordinator.federation.active()
    key = TlsKey.generate()
    key.save(home.keys(9).tls)
    forged = identity_of(members.home).issue(new_csr(key), "site-aarhus", now=time.time())

    assert refusal_of(channel_of(home, generation=9, certificate_pem=forged)) == NOT_ACCEPTED
    with (
        channel_of(home, generation=9, certificate_pem=forged) as channel,
        pytest.raises(grpc.RpcError) as no,
    ):
        renewal_pb2_grpc.RenewalStub(channel).Standing(renewal_pb2.StandingRequest(), timeout=CALL_TIMEOUT_S)

    assert (no.value.code(), no.value.details()) == NOT_ACCEPTED
    assert members.coordinator.federation.active() == before


def test_another_members_renewal_cannot_be_signed_for_it(
    members: MemberCoordinator, home: SiteHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = members.member(tmp_path / "bergen", "bergen")
    assert is_member(other)
    before = members.coordinator.federation.sites()
    statement = client.renewal.renewal_statement
    monkeypatch.setattr(
        client.renewal,
        "renewal_statement",
        lambda request, site_id: statement(request, site_id="site-aarhus"),
    )

    with pytest.raises(EnrolmentError, match="private keys"):
        renew(other)

    assert members.coordinator.federation.sites() == before


def test_a_site_under_an_expired_certificate_is_told_what_to_do(
    members: MemberCoordinator, home: SiteHome
) -> None:
    csr_pem = new_csr(TlsKey.load(home.tls_key_file))
    expired = identity_of(members.home).issue(csr_pem, "site-aarhus", now=time.time() - 31 * 86_400)
    home.write_membership(replace(home.membership(), certificate_pem=expired))

    with pytest.raises(TrustError, match="certificate has expired"):
        is_member(home)


def test_no_certificate_is_renewed_while_the_coordinators_clock_is_wrong(
    members: MemberCoordinator, home: SiteHome
) -> None:
    before = home.membership()
    members.coordinator.clock.note(-86_400.0, now=time.time())

    with pytest.raises(UnreachableError):
        renew(home)

    assert home.membership() == before
    members.coordinator.clock.note(0.0, now=time.time())
    renew(home)
    assert home.membership().certificate_pem != before.certificate_pem


def test_a_running_service_renews_a_certificate_that_is_due(
    members: MemberCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = home.membership()
    upkeep = Upkeep(home, ContactNote(home.contact_file))
    upkeep._once()
    assert home.membership() == before
    monkeypatch.setattr(client.service, "renewal_due", lambda *_, **__: True)

    upkeep._once()

    assert home.membership().key_generation == 1


def test_a_warm_workplace_goes_on_with_the_renewed_keys(
    members: MemberCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = members.coordinator.blobs.put_bytes(b"weights")
    workplace = open_workplace(home)
    warm = workplace.transfer
    rotate_keys(home, actor="local:test")

    workplace.transfer.fetch(blob, workplace.blobs)
    assert workplace.membership.key_generation == 0
    follow_membership(workplace, home)

    assert workplace.transfer is not warm
    workplace.blobs.remove(blob.digest)
    workplace.transfer.fetch(blob, workplace.blobs)
    (site,) = members.coordinator.federation.active()
    assert workplace.egress.signing_key.verify_key.raw == site.signing_public_key
    assert site.previous_certificate_pem is None
    again = workplace.transfer
    follow_membership(workplace, home)
    assert workplace.transfer is again


def test_every_way_to_be_refused_has_its_own_words() -> None:
    from shared.enrolment.refusal import refusal_error

    messages = {refusal_error(refusal).message for refusal in Refusal}
    assert len(messages) == len(Refusal)
