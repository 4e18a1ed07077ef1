"""Joining: keys made and kept at the site, a membership written last; against a real coordinator's store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import client.joining
from client.home import SiteHome
from client.joining import join
from server.coordinator import Coordinator
from server.enrolment import CoordinatorIdentity, EnrolmentService, serve_enrolment
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from server.issuing import issuer_of
from shared.enrolment.token import InvitationToken, Secret, hash_secret
from shared.errors import (
    EnrolmentError,
    FingerprintError,
    HomeError,
    TokenError,
    TrustError,
    UnreachableError,
)
from shared.flower.bundle import build_bundle, bundle_sha256
from shared.trust.certificates import fingerprint, site_id_of
from shared.trust.chains import check_issued_by
from shared.trust.keys import NodeKey, SigningKey, TlsKey
from shared.trust.tls import enrolment_server_credentials


class EnrollingCoordinator:
    """A founded coordinator whose enrolment service listens on loopback."""

    def __init__(self, folder: Path, *, shown_name: str = "Test") -> None:
        home = CoordinatorHome(folder)
        self.fingerprint = found(home, CoordinatorSettings(name="Test"), now=time.time(), actor="test")
        self.coordinator = Coordinator.open(home)
        self.root_pem = home.root_certificate_file.read_bytes()
        self.server, self.port = serve_enrolment(
            EnrolmentService(
                coordinator=CoordinatorIdentity(
                    name=shown_name,
                    anchors=self.coordinator.anchors,
                    fleet_address="127.0.0.1:1",
                    transfer_address="127.0.0.1:2",
                    certificate_days=30,
                    issuer=issuer_of(home.keys),
                ),
                register=self.coordinator.federation,
                clock=time.time,
                on_enrolled=lambda _site: None,
            ),
            host="127.0.0.1",
            port=0,
            credentials=enrolment_server_credentials(
                chain_pem=home.tls_chain_file.read_bytes(), key=TlsKey.load(home.tls_key_file)
            ),
        )

    def invite(self, name: str = "aarhus", *, fingerprint: str | None = None) -> InvitationToken:
        secret = Secret.generate()
        self.coordinator.federation.invite(
            secret_hash=hash_secret(secret),
            site_id=f"site-{name}",
            site_name=name,
            now=time.time(),
            expires_at=time.time() + 60,
            actor="test",
        )
        return InvitationToken(
            host="127.0.0.1",
            port=self.port,
            root_fingerprint=fingerprint or self.fingerprint,
            site_name=name,
            secret=secret,
        )


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[EnrollingCoordinator]:
    federation = EnrollingCoordinator(tmp_path / "coordinator")
    yield federation
    federation.server.stop(None).wait(10)


def test_a_site_that_joins_is_known_and_holds_all_it_needs(
    federation: EnrollingCoordinator, home: SiteHome
) -> None:
    membership = join(home, federation.invite(), actor="local:test")

    (site,) = federation.coordinator.federation.active()
    assert (site.site_id, site.name) == ("site-aarhus", "aarhus")
    assert (membership.site_id, membership.site_name) == (site.site_id, site.name)
    assert home.membership() == membership
    assert SigningKey.load(home.signing_key_file).verify_key.raw == site.signing_public_key
    assert NodeKey.load(home.node_key_file).public.text == site.node_public_key
    assert site_id_of(membership.certificate_pem) == "site-aarhus"
    check_issued_by(membership.certificate_pem, federation.root_pem)
    assert fingerprint(home.root_certificate_file.read_bytes()) == federation.fingerprint
    assert len(home.runtime_secret_file.read_bytes()) == 32


def test_the_installed_bundle_and_no_other_is_on_the_sites_list(
    federation: EnrollingCoordinator, home: SiteHome
) -> None:
    join(home, federation.invite(), actor="local:test")

    assert home.approved_bundles() == {bundle_sha256(build_bundle())}


def test_no_file_of_a_home_can_be_read_by_others(federation: EnrollingCoordinator, home: SiteHome) -> None:
    join(home, federation.invite(), actor="local:test")

    files = [file for file in home.folder.rglob("*") if file.is_file()]
    assert len(files) >= 7
    assert {file.name for file in files if file.stat().st_mode & 0o077} == set()


def test_a_reply_that_was_lost_is_asked_for_again_with_the_same_keys(
    federation: EnrollingCoordinator, home: SiteHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, enrol = federation.invite(), client.joining.enrol

    def lose_the_reply(*arguments: object, **keys: object) -> None:
        enrol(*arguments, **keys)
        raise UnreachableError("The connection broke.", "Join again.")

    with monkeypatch.context() as broken:
        broken.setattr(client.joining, "enrol", lose_the_reply)
        with pytest.raises(UnreachableError):
            join(home, token, actor="local:test")
    assert not home.has_joined()
    keys = home.signing_key_file.read_bytes()

    membership = join(home, token, actor="local:test")

    assert home.signing_key_file.read_bytes() == keys
    assert home.membership() == membership
    assert len(federation.coordinator.federation.sites()) == 1


def test_a_site_joins_once_and_a_second_token_changes_nothing(
    federation: EnrollingCoordinator, home: SiteHome
) -> None:
    first = join(home, federation.invite(), actor="local:test")

    with pytest.raises(HomeError, match="joined a federation already"):
        join(home, federation.invite("bergen"), actor="local:test")

    assert home.membership() == first
    assert [site.name for site in federation.coordinator.federation.sites()] == ["aarhus"]


def test_a_stolen_token_that_was_used_lets_nobody_in(
    federation: EnrollingCoordinator, home: SiteHome, tmp_path: Path
) -> None:
    token = federation.invite()
    join(home, token, actor="local:test")
    thief = SiteHome(tmp_path / "thief")

    with pytest.raises(TokenError, match="already used"):
        join(thief, token, actor="local:thief")

    assert not thief.has_joined()
    assert len(federation.coordinator.federation.sites()) == 1


def test_a_coordinator_under_another_root_than_the_tokens_is_refused_and_learns_nothing(
    federation: EnrollingCoordinator, home: SiteHome
) -> None:
    with pytest.raises(FingerprintError):
        join(home, federation.invite(fingerprint="0" * 64), actor="local:test")

    assert not home.has_joined()
    assert federation.coordinator.federation.sites() == []


def test_a_token_of_a_coordinator_that_is_not_there_leaves_a_home_that_can_try_again(
    federation: EnrollingCoordinator, home: SiteHome
) -> None:
    token = federation.invite()
    federation.server.stop(None).wait(10)

    with pytest.raises(EnrolmentError):
        join(home, token, actor="local:test")

    assert not home.has_joined()
    with pytest.raises(HomeError):
        home.membership()


def test_a_coordinator_whose_name_holds_terminal_control_is_not_joined(
    tmp_path: Path, home: SiteHome
) -> None:
    hostile = EnrollingCoordinator(tmp_path / "hostile", shown_name="Test\x1b[2J\x1b]0;owned\x07")
    try:
        with pytest.raises(TrustError, match="does not hold together"):
            join(home, hostile.invite(), actor="local:test")
    finally:
        hostile.server.stop(None).wait(10)

    assert not home.has_joined()
