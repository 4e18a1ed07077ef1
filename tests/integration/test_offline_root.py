"""The root's key kept offline, an issuer in its place: sites join, renew and stay."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import shared.trust.issuing
from client.renewal import is_under_older_root, renew
from client.standing import learn
from server.authority import anchors_of, retire_root, rotate_root, rotate_signing_key
from server.cli import app
from server.coordinator import Coordinator
from server.founding import found
from server.home import CoordinatorHome
from server.issuing import issuer_of
from server.members import Contact
from server.monitoring.gathering import Gatherer
from server.offline_root import read_root_key, renew_issuer, take_root_offline
from shared.errors import ConfigError, TrustError
from shared.transfer.blob_store import BlobStore
from shared.transfer.client import BlobClient
from shared.trust.certificates import expires_at, load_certificate
from shared.trust.chains import is_issued_by
from shared.trust.keys import TlsKey
from shared.trust.passphrase import Passphrase
from tests.integration.member_coordinator import MemberCoordinator, channel_of

THREE_YEARS_S = 3 * 365 * 86_400
WORDS = Passphrase("tundra copper violin")


def go_offline(members: MemberCoordinator, file: Path) -> None:
    members.stop()
    take_root_offline(members.home, members.coordinator.audit, file, WORDS, now=time.time(), actor="test")
    members.start()


def fetch(members: MemberCoordinator, home, folder: Path) -> bytes:
    """What a member fetches over mutual TLS with the certificate that it has now."""
    blob = members.coordinator.blobs.put_bytes(b"weights")
    here = BlobStore(folder)
    with channel_of(home) as channel:
        BlobClient(channel).fetch(blob, here)
    return here.path(blob.digest).read_bytes()


def test_sites_of_before_stay_and_renew_and_others_join_while_the_root_is_away(
    members: MemberCoordinator, tmp_path: Path
) -> None:
    before = members.member(tmp_path / "before", "aarhus")
    root_pem = members.home.root_certificate_file.read_bytes()

    go_offline(members, tmp_path / "root.sealed")

    assert not members.home.keys.root_key.exists()
    assert (tmp_path / "root.sealed").stat().st_mode & 0o077 == 0
    assert learn(before)
    renew(before)
    joined = members.member(tmp_path / "joined", "turku")
    for number, home in enumerate((before, joined)):
        membership = home.membership()
        assert is_issued_by(membership.certificate_pem, root_pem)
        assert load_certificate(membership.certificate_pem).issuer != load_certificate(root_pem).subject
        assert membership.anchors.root_pem == root_pem
        assert not is_under_older_root(membership)
        assert fetch(members, home, tmp_path / f"blobs-{number}") == b"weights"
    assert "keys.rotated" in members.event_names()


@pytest.mark.slow
def test_the_root_comes_back_for_a_new_issuer_and_goes_again(
    members: MemberCoordinator, tmp_path: Path
) -> None:
    home = members.member(tmp_path / "site")
    go_offline(members, tmp_path / "root.sealed")
    first = issuer_of(members.home.keys)

    members.stop()
    renew_issuer(
        members.home,
        members.coordinator.audit,
        read_root_key(tmp_path / "root.sealed", WORDS),
        now=time.time(),
        actor="test",
    )
    members.start()

    second = issuer_of(members.home.keys)
    assert second.certificate_pem != first.certificate_pem
    assert not members.home.keys.root_key.exists()
    assert abs(expires_at(second.certificate_pem) - time.time() - THREE_YEARS_S) < 86_400
    renew(home)
    assert fetch(members, home, tmp_path / "blobs") == b"weights"


@pytest.mark.slow
def test_the_root_is_rotated_with_its_old_key_brought_back(
    members: MemberCoordinator, tmp_path: Path
) -> None:
    home = members.member(tmp_path / "site")
    go_offline(members, tmp_path / "root.sealed")
    renew(home)
    members.stop()
    log, now = members.coordinator.audit, time.time()
    with pytest.raises(ConfigError, match="The root's key is offline"):
        rotate_root(members.home, log, now=now, actor="test")

    root_key = read_root_key(tmp_path / "root.sealed", WORDS)
    rotate_root(members.home, log, now=now, actor="test", root_key=root_key)
    members.start()

    assert members.home.keys.root_key.exists()
    assert not members.home.keys.issuer_key.exists()
    assert learn(home)
    assert is_under_older_root(home.membership())
    renew(home)
    assert not is_under_older_root(home.membership())
    assert fetch(members, home, tmp_path / "blobs") == b"weights"


def test_the_signing_key_is_rotated_while_the_root_is_away(
    members: MemberCoordinator, tmp_path: Path
) -> None:
    home = members.member(tmp_path / "site")
    go_offline(members, tmp_path / "root.sealed")

    members.change_keys("signing")

    assert learn(home)
    renew(home)
    assert fetch(members, home, tmp_path / "blobs") == b"weights"


@pytest.mark.slow
def test_another_key_is_not_taken_for_the_roots(members: MemberCoordinator, tmp_path: Path) -> None:
    go_offline(members, tmp_path / "root.sealed")
    members.stop()
    other = TlsKey.generate()
    log, now = members.coordinator.audit, time.time()
    before = issuer_of(members.home.keys).certificate_pem

    with pytest.raises(TrustError, match="another key"):
        renew_issuer(members.home, log, other, now=now, actor="test")
    with pytest.raises(TrustError, match="another key"):
        rotate_root(members.home, log, now=now, actor="test", root_key=other)
    with pytest.raises(ConfigError, match="offline already"):
        take_root_offline(members.home, log, tmp_path / "again.sealed", WORDS, now=now, actor="test")

    assert issuer_of(members.home.keys).certificate_pem == before
    rotate_signing_key(members.home, log, now=now, actor="test")
    assert anchors_of(members.home).version == 2
    members.start()


def test_nothing_is_written_over_by_the_roots_key(members: MemberCoordinator, tmp_path: Path) -> None:
    (tmp_path / "root.sealed").write_text("kept")
    members.stop()

    with pytest.raises(ConfigError, match="exists already"):
        take_root_offline(
            members.home,
            members.coordinator.audit,
            tmp_path / "root.sealed",
            WORDS,
            now=time.time(),
            actor="test",
        )

    assert (tmp_path / "root.sealed").read_text() == "kept"
    assert members.home.keys.root_key.exists()
    members.start()


def test_the_commands_move_the_root_away_and_tell_of_the_issuer(
    members: MemberCoordinator, tmp_path: Path
) -> None:
    file, home = tmp_path / "root.sealed", members.home
    members.stop()

    taken = command(home, "take-root-offline", str(file), typed=WORDS.text)
    again = command(home, "take-root-offline", str(tmp_path / "again.sealed"), typed=WORDS.text)
    shown = json.loads(command(home, "show", "--json").stdout)
    renewed = command(home, "renew-issuer", "--root-key", str(file), "--json", typed=WORDS.text)
    mistyped = command(home, "renew-issuer", "--root-key", str(file), typed="tundra copper viola")

    assert taken.exit_code == 0
    assert "The root's key is in that file alone" in taken.stdout
    assert isinstance(again.exception, ConfigError)
    assert "The passphrase does not open the file" in str(mistyped.exception)
    assert b"PRIVATE KEY" not in file.read_bytes()
    assert shown["issuer_ends_at"] == pytest.approx(time.time() + THREE_YEARS_S, abs=86_400)
    assert json.loads(renewed.stdout)["issuer_ends_at"] >= shown["issuer_ends_at"]
    assert "offline; the issuer in its place ends" in command(home, "show").stdout
    members.start()


def test_a_root_that_lets_no_issuer_stand_below_it_is_rotated_first(
    members: MemberCoordinator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members.stop()
    with monkeypatch.context() as early:
        early.setattr(shared.trust.issuing, "_ISSUERS_BELOW_ROOT", 0)
        home = CoordinatorHome(tmp_path / "early")
        found(home, members.home.settings(), now=time.time(), actor="test")
    log = Coordinator.open(home).audit

    with pytest.raises(ConfigError, match="none stand below it"):
        take_root_offline(home, log, tmp_path / "root.sealed", WORDS, now=time.time(), actor="test")

    assert home.keys.root_key.exists()
    assert not (tmp_path / "root.sealed").exists()
    rotate_root(home, log, now=time.time(), actor="test")
    retire_root(home, log, [], now=time.time(), actor="test")
    take_root_offline(home, log, tmp_path / "root.sealed", WORDS, now=time.time(), actor="test")
    assert is_issued_by(home.tls_chain_file.read_bytes(), home.root_certificate_file.read_bytes())
    members.start()


def test_an_issuer_that_was_half_exchanged_signs_nothing_until_it_is_renewed(
    members: MemberCoordinator, tmp_path: Path
) -> None:
    go_offline(members, tmp_path / "root.sealed")
    members.stop()
    TlsKey.generate().save(members.home.keys.issuer_key)  # as when the power goes between the two files

    with pytest.raises(TrustError, match="do not belong together"):
        issuer_of(members.home.keys)

    root_key = read_root_key(tmp_path / "root.sealed", WORDS)
    renew_issuer(members.home, members.coordinator.audit, root_key, now=time.time(), actor="test")
    assert is_issued_by(
        members.home.tls_chain_file.read_bytes(), members.home.root_certificate_file.read_bytes()
    )
    members.start()


def test_the_end_of_the_issuer_is_watched(members: MemberCoordinator, tmp_path: Path) -> None:
    go_offline(members, tmp_path / "root.sealed")
    gatherer = Gatherer(
        members.home, members.coordinator, NoContacts(), measure="dice_dense", began_at=time.time()
    )

    certificates = {one.whose: one.ends_at for one in gatherer.gather(now=time.time()).certificates}

    assert certificates["the issuer in the root's place"] == expires_at(
        issuer_of(members.home.keys).certificate_pem
    )


class NoContacts:
    def contacts(self) -> dict[int, Contact]:
        return {}


def command(home: CoordinatorHome, *words: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, ["keys", *words, "--home", str(home.folder)], input=typed)
