"""The coordinator's own keys: each is replaced in one step, and what was in force stays until then."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from server.authority import (
    anchors_of,
    depending_on_older_root,
    retire_root,
    rotate_root,
    rotate_signing_key,
    statements_of,
)
from server.cli import app
from server.coordinator import Coordinator
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from server.issuing import renew_server_certificate
from server.lifecycle import SiteState
from server.store import Site
from shared.errors import ConfigError, HomeError, StoreError, TrustError
from shared.files import hold_folder
from shared.trust.anchors import Anchors, follow
from shared.trust.certificates import expires_at, fingerprint, is_for_key, issued_at
from shared.trust.chains import check_issued_by
from shared.trust.issuing import Issuer, new_site_certificate
from shared.trust.keys import TlsKey
from shared.trust.server_certificate import names_host
from shared.trust.signing_request import new_csr

DAY_S = 86_400


@pytest.fixture
def home(tmp_path: Path) -> CoordinatorHome:
    home = CoordinatorHome(tmp_path / "home")
    found(home, CoordinatorSettings(name="Test"), now=time.time(), actor="test")
    return home


def change(home: CoordinatorHome, what: str, *, sites: tuple[Site, ...] = ()) -> Anchors:
    log, now = Coordinator.open(home).audit, time.time()
    if what == "signing":
        return rotate_signing_key(home, log, now=now, actor="ada")
    if what == "root":
        return rotate_root(home, log, now=now, actor="ada")
    return retire_root(home, log, sites, now=now, actor="ada")


def key_files(home: CoordinatorHome) -> dict[str, bytes]:
    folder = home.folder / "keys"
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def key_changes(home: CoordinatorHome) -> list[dict[str, Any]]:
    lines = Coordinator.open(home).audit.lines(subject="coordinator")
    return [{"actor": one.actor, **one.details} for one in lines if one.name == "keys.rotated"]


def certificate(home: CoordinatorHome, *, days: float = 30) -> bytes:
    return new_site_certificate(
        csr_pem=new_csr(TlsKey.generate()),
        site_id="site-1",
        issuer=Issuer(
            certificate_pem=home.root_certificate_file.read_bytes(), key=TlsKey.load(home.root_key_file)
        ),
        now=time.time() - (30 - days) * DAY_S,
    )


def site_with(certificate_pem: bytes, *, seen: bool = True) -> Site:
    return Site(
        site_id="site-1",
        name="aarhus",
        state=SiteState.ACTIVE,
        signing_public_key=bytes(32),
        node_public_key="",
        node_id=1,
        certificate_pem=certificate_pem,
        software_version="0.1.0",
        enrolled_at=0,
        certificate_seen=seen,
    )


def test_a_new_signing_key_is_in_force_at_once_and_the_old_ones_private_half_is_gone(
    home: CoordinatorHome,
) -> None:
    before, old_text = anchors_of(home), home.signing_key_file.read_bytes()

    after = change(home, "signing")

    coordinator = Coordinator.open(home)
    assert coordinator.signing_key.verify_key == after.signing_key == anchors_of(home).signing_key
    assert after.signing_key != before.signing_key
    assert [one.key for one in after.retired_keys] == [before.signing_key]
    assert old_text not in key_files(home).values()
    assert follow(before, statements_of(home)) == after
    assert key_changes(home) == [
        {
            "actor": "ada",
            "purpose": "signing",
            "old_key_id": before.signing_key.key_id,
            "new_key_id": after.signing_key.key_id,
        }
    ]


def test_a_new_signing_key_changes_no_certificate(home: CoordinatorHome) -> None:
    files = (home.root_key_file, home.root_certificate_file, home.tls_key_file, home.tls_chain_file)
    before = [file.read_bytes() for file in files]

    change(home, "signing")

    files = (home.root_key_file, home.root_certificate_file, home.tls_key_file, home.tls_chain_file)
    assert [file.read_bytes() for file in files] == before


def test_a_new_root_issues_at_once_while_the_old_one_is_believed_and_its_private_half_is_gone(
    home: CoordinatorHome,
) -> None:
    before = anchors_of(home)
    secrets = [home.root_key_file.read_bytes(), home.tls_key_file.read_bytes()]

    after = change(home, "root")

    root_pem = home.root_certificate_file.read_bytes()
    assert after.roots_pem == (root_pem, before.root_pem)
    check_issued_by(home.tls_chain_file.read_bytes(), root_pem)
    check_issued_by(home.keys.cross_certificate.read_bytes(), before.root_pem)
    assert is_for_key(root_pem, TlsKey.load(home.root_key_file).private.public_key())
    assert is_for_key(home.tls_chain_file.read_bytes(), TlsKey.load(home.tls_key_file).private.public_key())
    assert not set(secrets) & set(key_files(home).values())
    assert follow(before, statements_of(home)) == after
    (noted,) = key_changes(home)
    assert (noted["purpose"], noted["new_key_id"]) == ("root", fingerprint(root_pem)[:16])


def test_both_keys_can_be_replaced_again_and_again_and_every_site_can_follow(home: CoordinatorHome) -> None:
    known = [anchors_of(home)]
    for what in ("signing", "root", "signing", "retire", "root", "retire", "signing"):
        change(home, what)
        known.append(anchors_of(home))

    assert [one.version for one in known] == list(range(1, 9))
    for one in known:
        assert follow(one, statements_of(home)) == known[-1]
    assert len(known[-1].retired_keys) == 3
    private = [name for name in key_files(home) if name.endswith(".key")]
    assert sorted(private) == ["8/root.key", "8/signing.key", "8/tls.key"]


@pytest.mark.parametrize("what", ["signing", "root", "retire"])
def test_keys_are_not_replaced_under_a_running_coordinator(home: CoordinatorHome, what: str) -> None:
    before = key_files(home)

    with hold_folder(home.folder), pytest.raises(HomeError, match="already running"):
        change(home, what)

    assert key_files(home) == before


@pytest.mark.parametrize("what", ["signing", "root"])
def test_a_change_that_a_crash_cuts_short_leaves_the_keys_of_before_and_can_be_made_again(
    home: CoordinatorHome, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = anchors_of(home)

    def crash(*_: object) -> None:
        raise StoreError("The disk is full.", "Free some.")

    with monkeypatch.context() as crashing:
        crashing.setattr(CoordinatorHome, "put_in_force", crash)
        with pytest.raises(StoreError):
            change(home, what)
    assert anchors_of(home) == before
    assert statements_of(home) == []
    assert Coordinator.open(home).signing_key.verify_key == before.signing_key
    assert key_changes(home) == []

    assert change(home, what).version == 2


def test_private_keys_that_a_crash_left_behind_are_erased_by_the_next_change(
    home: CoordinatorHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as crashing:
        crashing.setattr(Path, "unlink", _crash)
        with pytest.raises(ConnectionError):
            change(home, "signing")
    assert anchors_of(home).version == 2
    assert (home.folder / "keys" / "signing.key").exists()

    change(home, "signing")

    assert sorted(name for name in key_files(home) if name.endswith(".key")) == [
        "3/root.key",
        "3/signing.key",
        "3/tls.key",
    ]


def _crash(*_: object, **__: object) -> None:
    raise ConnectionError("the power is cut")


def test_one_change_of_root_is_finished_before_the_next_begins(home: CoordinatorHome) -> None:
    change(home, "root")
    before = key_files(home)

    with pytest.raises(ConfigError, match="still believed"):
        change(home, "root")

    assert anchors_of(home).version == 2
    assert {name: text for name, text in key_files(home).items() if not name.startswith("next/")} == before


def test_a_root_that_sites_depend_on_is_not_retired_and_they_are_named(home: CoordinatorHome) -> None:
    site = site_with(certificate(home))
    change(home, "root")

    with pytest.raises(ConfigError, match="still needed by: aarhus"):
        change(home, "retire", sites=(site,))
    assert len(anchors_of(home).roots_pem) == 2

    after = change(home, "retire", sites=(site_with(certificate(home)),))

    assert after.roots_pem == (home.root_certificate_file.read_bytes(),)
    assert home.tls_chain_file.read_bytes().count(b"BEGIN CERTIFICATE") == 2
    assert not home.keys.cross_certificate.exists()
    assert [noted["purpose"] for noted in key_changes(home)] == ["root", "root-retired"]


def test_without_an_older_root_there_is_none_to_retire(home: CoordinatorHome) -> None:
    with pytest.raises(ConfigError, match="No root but the current one"):
        change(home, "retire")


@pytest.mark.parametrize(
    ("days", "seen", "under_new_root", "depends"),
    [
        (30, True, False, True),
        (-1, True, False, False),
        (30, True, True, False),
        (30, False, True, True),
    ],
    ids=["old certificate", "ended certificate", "new certificate", "new certificate never shown"],
)
def test_a_site_depends_on_the_older_root_until_it_has_shown_a_certificate_of_the_new_one(
    home: CoordinatorHome, days: float, seen: bool, under_new_root: bool, depends: bool
) -> None:
    old_pem = certificate(home, days=days)
    anchors = change(home, "root")
    site = site_with(certificate(home, days=days) if under_new_root else old_pem, seen=seen)

    assert depending_on_older_root(anchors, [site], now=time.time()) == ([site] if depends else [])


@pytest.mark.parametrize("missing", ["root.crt", "2/anchors.json"])
def test_a_home_whose_keys_are_incomplete_says_what_to_restore(home: CoordinatorHome, missing: str) -> None:
    if missing.startswith("2/"):
        change(home, "signing")
    file = home.folder / "keys" / missing
    file.unlink()

    with pytest.raises(TrustError, match="cannot be read"):
        Coordinator.open(home)


# -- the listeners' certificate


def test_the_listeners_certificate_is_renewed_after_two_thirds_of_its_life_and_not_before(
    home: CoordinatorHome,
) -> None:
    chain_pem, key, now = home.tls_chain_file.read_bytes(), home.tls_key_file.read_bytes(), time.time()

    assert not renew_server_certificate(home, now=now + 549 * DAY_S)
    assert home.tls_chain_file.read_bytes() == chain_pem

    assert renew_server_certificate(home, now=now + 551 * DAY_S)

    assert expires_at(home.tls_chain_file.read_bytes()) > expires_at(chain_pem)
    assert home.tls_key_file.read_bytes() == key
    assert not renew_server_certificate(home, now=now + 551 * DAY_S)


def test_a_certificate_that_a_wrong_clock_issued_in_the_time_to_come_is_replaced(
    home: CoordinatorHome,
) -> None:
    now = time.time()
    renew_server_certificate(home, now=now + 600 * DAY_S)

    assert renew_server_certificate(home, now=now)

    assert issued_at(home.tls_chain_file.read_bytes()) <= now


def test_a_coordinator_that_moved_to_another_host_gets_a_certificate_for_it(home: CoordinatorHome) -> None:
    home.write_settings(home.settings().model_copy(update={"host": "coordinator.example.org"}))

    assert renew_server_certificate(home, now=time.time())

    chain_pem = home.tls_chain_file.read_bytes()
    assert names_host(chain_pem, "coordinator.example.org")
    assert is_for_key(chain_pem, TlsKey.load(home.tls_key_file).private.public_key())


def test_a_renewed_certificate_still_shows_the_way_from_the_older_root(home: CoordinatorHome) -> None:
    change(home, "root")

    renew_server_certificate(home, now=time.time() + 600 * DAY_S)

    assert home.keys.cross_certificate.read_bytes() in home.tls_chain_file.read_bytes()


# -- the commands


def call(home: CoordinatorHome, *arguments: str) -> Any:
    done = CliRunner().invoke(app, ["keys", *arguments, "--home", str(home.folder), "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_person_changes_both_keys_by_command_and_is_shown_what_is_believed(home: CoordinatorHome) -> None:
    founded = call(home, "show")
    Coordinator.open(home).federation.invite(
        secret_hash="0" * 64,
        site_id="site-1",
        site_name="bergen",
        now=time.time(),
        expires_at=time.time() + 60,
        actor="ada",
    )

    signing = call(home, "rotate-signing")
    root = call(home, "rotate-root")

    shown = call(home, "show")
    assert root["to_invite_anew"] == ["bergen"]
    assert (shown["version"], shown["signing_key"]) == (3, signing["signing_key"])
    assert shown["roots"] == [root["root_fingerprint"], *founded["roots"]]
    assert shown["retired_signing_keys"] == [founded["signing_key"]]
    assert shown["depending_on_older_root"] == []
    assert call(home, "retire-root")["version"] == 4
    assert call(home, "show")["roots"] == [root["root_fingerprint"]]


def test_each_command_says_the_same_to_a_person(home: CoordinatorHome) -> None:
    for command in ("rotate-signing", "rotate-root", "show", "retire-root", "show"):
        done = CliRunner().invoke(app, ["keys", command, "--home", str(home.folder)])
        assert done.exit_code == 0, done.output
        anchors = anchors_of(home)
        if command == "rotate-signing":
            assert anchors.signing_key.key_id in done.output
        else:
            assert fingerprint(anchors.root_pem) in done.output


def test_a_folder_that_is_no_home_gets_no_keys(tmp_path: Path) -> None:
    nowhere = CoordinatorHome(tmp_path / "nowhere")

    with pytest.raises(HomeError):
        call(nowhere, "rotate-signing")

    assert not nowhere.folder.exists()
