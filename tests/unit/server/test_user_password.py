"""`user password`: whose it is, what may be one, and what it ends."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from server.cli import app
from server.console.passwords import is_right
from server.coordinator import Coordinator
from server.founding import found
from server.home import CoordinatorHome, CoordinatorSettings
from shared.errors import ConfigError, TrustError
from shared.persons.roles import Role

WORDS = "some words of nobody's"


@pytest.fixture
def home(tmp_path: Path) -> CoordinatorHome:
    home = CoordinatorHome(tmp_path / "home")
    found(home, CoordinatorSettings(name="Test"), now=time.time(), actor="test")
    return home


@pytest.fixture
def token(home: CoordinatorHome) -> str:
    persons = Coordinator.open(home).persons
    return persons.add("ada", Role.ADMINISTRATOR, actor="test", at=time.time()).reveal()


def set_password(home: CoordinatorHome, typed: str, token: str | None) -> Result:
    return CliRunner(env={"MAMMOFED_TOKEN": token or ""}).invoke(
        app, ["user", "password", "--home", str(home.folder), "--json"], input=typed
    )


def test_a_person_sets_their_own_password_which_is_kept_as_a_hash_alone(
    home: CoordinatorHome, token: str
) -> None:
    done = set_password(home, WORDS + "\n", token)

    assert json.loads(done.stdout) == {"name": "ada", "password": "set"}
    encoded = Coordinator.open(home).passwords.of("ada")
    assert encoded is not None
    assert is_right(WORDS, encoded)
    assert not is_right(WORDS + " ", encoded)
    assert WORDS not in encoded
    assert WORDS not in done.output
    (line,) = [line for line in Coordinator.open(home).audit.lines() if line.name == "person.password_set"]
    assert (line.actor, line.subject, line.details) == ("person:ada", "ada", {})


def test_the_same_words_typed_at_another_keyboard_are_the_same(home: CoordinatorHome, token: str) -> None:
    set_password(home, "gr\u00fcne \u00c5lesund-w\u00f6rter\n", token)

    encoded = Coordinator.open(home).passwords.of("ada")

    assert is_right("gru\u0308ne A\u030alesund-wo\u0308rter", encoded)


@pytest.mark.parametrize("typed", ["", "short", "a" * 129, "I am ADA, who else?"])
def test_what_is_no_password_leaves_the_one_before(home: CoordinatorHome, token: str, typed: str) -> None:
    set_password(home, WORDS + "\n", token)

    done = set_password(home, typed + "\n", token)

    assert isinstance(done.exception, ConfigError)
    assert is_right(WORDS, Coordinator.open(home).passwords.of("ada"))


@pytest.mark.parametrize("given", [None, "mf_person_" + "A" * 43])
def test_without_a_persons_token_nobody_gets_a_password(
    home: CoordinatorHome, token: str, given: str | None
) -> None:
    done = set_password(home, WORDS + "\n", given)

    assert isinstance(done.exception, TrustError)
    assert Coordinator.open(home).passwords.of("ada") is None


def test_a_restored_backup_lets_nobody_go_on_who_was_signed_in(home: CoordinatorHome, token: str) -> None:
    from server.backup import back_up, restore
    from shared.trust.passphrase import Passphrase

    set_password(home, WORDS + "\n", token)
    coordinator = Coordinator.open(home)
    coordinator.sign_ins.begin("ada", key_hash="k" * 64, at=time.time())
    archive, elsewhere = home.folder.parent / "backup", CoordinatorHome(home.folder.parent / "restored")
    passphrase = Passphrase("tundra copper violin")
    back_up(home, archive, passphrase, now=time.time(), actor="test")
    restore(archive, elsewhere, passphrase, now=time.time(), actor="test")

    assert coordinator.sign_ins.find("k" * 64, at=time.time()) is not None
    assert Coordinator.open(elsewhere).sign_ins.find("k" * 64, at=time.time()) is None
