"""Backup and restore of a coordinator, rehearsed: all comes back, and nothing that was tampered with."""

from __future__ import annotations

import io
import json
import shutil
import stat
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import server.backup_archive
import shared.trust.passphrase
from server.authority import rotate_root, rotate_signing_key
from server.backup import back_up, restore
from server.backup_archive import MANIFEST
from server.cli import app
from server.coordinator import Coordinator
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from server.store.opening import DATABASE_FILE
from shared.enrolment.token import Secret, hash_secret
from shared.errors import ConfigError, HomeError, MammofedError, StoreError, TamperedError, TrustError
from shared.files import hold_folder
from shared.persons.roles import Role
from shared.trust.passphrase import Passphrase, UnsealingReader, sealed, sealing

WEIGHTS = b"weights of a published model"
PASSPHRASE = Passphrase("tundra copper violin")


@pytest.fixture(autouse=True)
def quick_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes guessing dear is tried in the tests of the passphrase itself."""
    monkeypatch.setattr(shared.trust.passphrase, "_SCRYPT_N", 2)


@pytest.fixture
def home(tmp_path: Path) -> CoordinatorHome:
    """A coordinator that has invited a hospital, named a person, and rotated both of its keys."""
    home = CoordinatorHome(tmp_path / "coordinator")
    found(home, CoordinatorSettings(name="Backed Up"), now=time.time(), actor="test")
    coordinator = Coordinator.open(home)
    now = time.time()
    coordinator.federation.invite(
        secret_hash=hash_secret(Secret.generate()),
        site_id="site-aarhus",
        site_name="aarhus",
        now=now,
        expires_at=now + 60,
        actor="test",
        by_hand=False,
    )
    coordinator.persons.add("anna", Role.ADMINISTRATOR, actor="test", at=now)
    rotate_signing_key(home, coordinator.audit, now=now, actor="test")
    rotate_root(home, coordinator.audit, now=now, actor="test")
    return home


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


def contents_of(archive: Path) -> dict[str, bytes]:
    with (
        archive.open("rb") as file,
        tarfile.open(fileobj=UnsealingReader(file, PASSPHRASE), mode="r|") as source,
    ):
        return {entry.name: source.extractfile(entry).read() for entry in source}  # type: ignore[union-attr]


@contextmanager
def replacing(archive: Path) -> Iterator[tarfile.TarFile]:
    """Another archive in its place, as somebody makes one who has the passphrase too."""
    with (
        archive.open("wb") as file,
        sealing(file, PASSPHRASE) as sealed,
        tarfile.open(fileobj=sealed, mode="w|") as target,
    ):
        yield target


def rewrite(archive: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Change what is in an archive."""
    contents = contents_of(archive)
    change(contents)
    with replacing(archive) as target:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            target.addfile(entry, io.BytesIO(content))


def edit_manifest(contents: dict[str, bytes], **values: object) -> None:
    contents[MANIFEST] = json.dumps({**json.loads(contents[MANIFEST]), **values}).encode()


def test_a_coordinator_comes_back_with_its_keys_rows_blobs_and_history(
    home: CoordinatorHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = Coordinator.open(home).blobs.put_bytes(WEIGHTS)
    monkeypatch.setattr(Coordinator, "kept_digests", lambda _self: frozenset({blob.digest}))
    before = Coordinator.open(home)
    keys = files_below(home.folder / "keys")
    archive = tmp_path / "backup"
    with hold_folder(home.folder):  # as while it runs
        back_up(home, archive, PASSPHRASE, now=time.time(), actor="test")
    shutil.rmtree(home.folder)

    restored = CoordinatorHome(tmp_path / "elsewhere" / "coordinator")
    told = restore(archive, restored, PASSPHRASE, now=time.time(), actor="local:root")

    after = Coordinator.open(restored)
    assert told.federation == "Backed Up"
    assert files_below(restored.folder / "keys") == keys
    assert after.anchors == before.anchors
    assert after.signing_key.verify_key == before.signing_key.verify_key
    assert [person.name for person in after.persons.all()] == ["anna"]
    assert after.blobs.path(blob.digest).read_bytes() == WEIGHTS
    names = [line.name for line in after.audit.lines()]
    assert names[-3:] == ["backup.taken", "backup.restored", "site.withdrawn"]
    assert not list(restored.folder.parent.glob("*.restoring"))


def test_an_invitation_of_before_the_backup_lets_nobody_in_afterwards(
    home: CoordinatorHome, tmp_path: Path
) -> None:
    back_up(home, tmp_path / "backup", PASSPHRASE, now=time.time(), actor="test")
    restored = CoordinatorHome(tmp_path / "restored")

    restore(tmp_path / "backup", restored, PASSPHRASE, now=time.time(), actor="test")

    with pytest.raises(MammofedError, match="no open invitation"):
        Coordinator.open(restored).federation.withdraw("aarhus", now=time.time(), actor="test")


def test_a_backup_is_its_owners_alone_and_so_is_what_comes_back(
    home: CoordinatorHome, tmp_path: Path
) -> None:
    archive, restored = tmp_path / "backup", CoordinatorHome(tmp_path / "restored")

    back_up(home, archive, PASSPHRASE, now=time.time(), actor="test")
    restore(archive, restored, PASSPHRASE, now=time.time(), actor="test")

    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    modes = {stat.S_IMODE(file.stat().st_mode) & 0o077 for file in restored.folder.rglob("*")}
    assert modes == {0}


def test_nothing_is_written_over(home: CoordinatorHome, tmp_path: Path) -> None:
    archive = tmp_path / "backup"
    back_up(home, archive, PASSPHRASE, now=time.time(), actor="test")
    before = files_below(home.folder)

    with pytest.raises(StoreError, match="exists already"):
        back_up(home, archive, PASSPHRASE, now=time.time(), actor="test")
    with pytest.raises(HomeError, match="something in this folder"):
        restore(archive, home, PASSPHRASE, now=time.time(), actor="test")

    assert files_below(home.folder)["keys/root.crt"] == before["keys/root.crt"]


def _change_key(contents: dict[str, bytes]) -> None:
    name = next(name for name in contents if name.endswith("signing.key"))
    contents[name] = contents[name][:-1] + bytes([contents[name][-1] ^ 1])


def _plant_key(contents: dict[str, bytes]) -> None:
    contents["keys/9/root.key"] = b"planted"


def _leave_out(contents: dict[str, bytes]) -> None:
    del contents[DATABASE_FILE]


def _escape(contents: dict[str, bytes]) -> None:
    contents["keys/../../escaped"] = b"x"
    edit_manifest(contents, files={**json.loads(contents[MANIFEST])["files"], "keys/../../escaped": "0" * 64})


def _absolute(contents: dict[str, bytes]) -> None:
    edit_manifest(contents, files={**json.loads(contents[MANIFEST])["files"], "/etc/cron.d/x": "0" * 64})


def _of_later_format(contents: dict[str, bytes]) -> None:
    edit_manifest(contents, format=2)


def _no_json(contents: dict[str, bytes]) -> None:
    contents[MANIFEST] = b"{"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (_change_key, TamperedError),
        (_plant_key, TamperedError),
        (_leave_out, TamperedError),
        (_escape, ConfigError),
        (_absolute, ConfigError),
        (_of_later_format, ConfigError),
        (_no_json, ConfigError),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_a_backup_that_was_changed_is_refused_and_nothing_is_left(
    change: Callable[[dict[str, bytes]], None],
    error: type[MammofedError],
    home: CoordinatorHome,
    tmp_path: Path,
) -> None:
    archive, folder = tmp_path / "backup", tmp_path / "new" / "restored"
    back_up(home, archive, PASSPHRASE, now=time.time(), actor="test")
    rewrite(archive, change)

    with pytest.raises(error):
        restore(archive, CoordinatorHome(folder), PASSPHRASE, now=time.time(), actor="test")

    assert list((tmp_path / "new").iterdir()) == []
    assert not (tmp_path / "new" / "escaped").exists()


def test_a_link_in_place_of_a_key_is_refused(home: CoordinatorHome, tmp_path: Path) -> None:
    archive = tmp_path / "backup"
    back_up(home, archive, PASSPHRASE, now=time.time(), actor="test")
    contents = contents_of(archive)
    with replacing(archive) as target:
        for name, content in contents.items():
            entry = tarfile.TarInfo(name)
            if name == "keys/root.crt":
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/shadow"
            else:
                entry.size = len(content)
            target.addfile(entry, io.BytesIO(content) if entry.isreg() else None)

    with pytest.raises(TamperedError):
        restore(archive, CoordinatorHome(tmp_path / "restored"), PASSPHRASE, now=time.time(), actor="test")


@pytest.mark.parametrize("content", [b"", b"no archive", b"\0" * 10_240])
def test_a_file_that_is_no_backup_is_told(content: bytes, tmp_path: Path) -> None:
    for held, told in ((content, "not sealed by a passphrase"), (sealed(content, PASSPHRASE), "no backup")):
        (tmp_path / "file").write_bytes(held)
        with pytest.raises(ConfigError, match=told):
            restore(
                tmp_path / "file",
                CoordinatorHome(tmp_path / "restored"),
                PASSPHRASE,
                now=time.time(),
                actor="test",
            )


def test_a_backup_shows_no_key_no_name_and_no_row_to_who_has_not_the_passphrase(
    home: CoordinatorHome, tmp_path: Path
) -> None:
    back_up(home, tmp_path / "backup", PASSPHRASE, now=time.time(), actor="test")

    content = (tmp_path / "backup").read_bytes()

    for shown in (b"PRIVATE KEY", b"manifest.json", b"signing.key", b"SQLite format", b"aarhus", b"anna"):
        assert shown not in content
    with pytest.raises(TrustError, match="The passphrase does not open the file"):
        restore(
            tmp_path / "backup",
            CoordinatorHome(tmp_path / "new" / "restored"),
            Passphrase("tundra copper viola"),
            now=time.time(),
            actor="test",
        )
    assert list((tmp_path / "new").iterdir()) == []


def test_a_backup_that_was_cut_short_is_noticed_before_anything_of_it_is_written(
    home: CoordinatorHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "backup"
    back_up(home, archive, PASSPHRASE, now=time.time(), actor="test")
    archive.write_bytes(archive.read_bytes()[:-1])
    monkeypatch.setattr(server.backup_archive, "_unpack", lambda *_: pytest.fail("it was unpacked"))

    with pytest.raises(TamperedError):
        restore(archive, CoordinatorHome(tmp_path / "restored"), PASSPHRASE, now=time.time(), actor="test")


def test_a_short_passphrase_seals_nothing(home: CoordinatorHome, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fewer than 12 characters"):
        back_up(home, tmp_path / "backup", Passphrase("eleven char"), now=time.time(), actor="test")

    assert not (tmp_path / "backup").exists()


def test_the_commands_take_the_passphrase_from_a_file_or_a_pipe(tmp_path: Path) -> None:
    home = CoordinatorHome(tmp_path / "coordinator")
    found(home, CoordinatorSettings(name="Backed Up"), now=time.time(), actor="test")

    def call(*words: str, typed: str = "") -> Result:
        return CliRunner().invoke(app, [*words, "--json"], input=typed)

    file = tmp_path / "passphrase"
    file.touch(mode=0o600)
    file.write_text(PASSPHRASE.text + "\n")
    backup = ("backup", str(tmp_path / "taken"), "--home", str(home.folder))

    taken = call(*backup, "--passphrase-file", str(file))
    restored = call(
        "restore", str(tmp_path / "taken"), "--home", str(tmp_path / "new"), typed=PASSPHRASE.text + "\n"
    )

    assert (taken.exit_code, restored.exit_code) == (0, 0)
    assert json.loads(restored.stdout)["federation"] == "Backed Up"
    file.chmod(0o644)
    refused = call(*backup, "--passphrase-file", str(file))
    assert "open to other users" in str(refused.exception)
