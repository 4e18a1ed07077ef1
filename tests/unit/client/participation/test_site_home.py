"""The site's home folder: what is read from it, and how damage is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.cli import app
from client.home import SiteHome, default_home
from client.settings import SiteSettings
from shared.errors import ConfigError, HomeError, MammofedError, StoreError
from tests.unit.client.participation.conftest import MinimalCoordinator


def test_a_home_without_settings_has_the_defaults(home: SiteHome) -> None:
    assert home.settings() == SiteSettings(device="auto", threads=0)


def test_settings_are_read_from_the_home(home: SiteHome) -> None:
    home.folder.mkdir()
    home.settings_file.write_text('device = "cpu"\nthreads = 3\n')

    assert home.settings() == SiteSettings(device="cpu", threads=3)


@pytest.mark.parametrize(
    "content",
    [b'device = "tpu"', b"threads = -1", b"threads = 1025", b"threads = 1.5", b"thread = 2", b"\xff\xfe"],
)
def test_settings_that_cannot_be_used_are_named(content: bytes, home: SiteHome) -> None:
    home.folder.mkdir()
    home.settings_file.write_bytes(content)

    with pytest.raises(ConfigError, match=r"site\.toml"):
        home.settings()


def test_a_home_that_has_not_joined_says_so(home: SiteHome) -> None:
    assert not home.has_joined()

    with pytest.raises(HomeError, match="not joined"):
        home.membership()


def test_a_file_in_the_place_of_a_home_has_not_joined(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(MammofedError):
        SiteHome(tmp_path / "file").membership()


def test_a_membership_survives_being_written(home: SiteHome, coordinator: MinimalCoordinator) -> None:
    membership = home.membership()

    home.write_membership(membership)

    assert home.membership() == membership
    assert membership.anchors.signing_key == coordinator.signing_key.verify_key


@pytest.mark.parametrize("command", ["show", "rotate"])
def test_a_home_that_has_not_joined_has_no_keys_to_show_or_exchange(command: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["keys", command, "--home", str(tmp_path / "nowhere")])

    assert isinstance(done.exception, HomeError)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace("BEGIN CERTIFICATE", "BEGIN", 2),
        lambda text: json.dumps({**json.loads(text), "anchors": "{}"}),
        lambda text: json.dumps({**json.loads(text), "anchors": None}),
        lambda text: json.dumps(dict.fromkeys(json.loads(text), 1)),
        lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "site_id"}),
    ],
)
def test_a_damaged_membership_is_told_as_such(
    damage, home: SiteHome, coordinator: MinimalCoordinator
) -> None:
    home.membership_file.write_text(damage(home.membership_file.read_text()))

    with pytest.raises(MammofedError) as caught:
        home.membership()

    assert not isinstance(caught.value, HomeError)


def test_a_membership_that_is_no_text_is_told_as_damaged(
    home: SiteHome, coordinator: MinimalCoordinator
) -> None:
    home.membership_file.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(StoreError):
        home.membership()


def test_the_default_home_is_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAMMOFED_HOME", "/srv/site")
    assert default_home() == Path("/srv/site")

    monkeypatch.delenv("MAMMOFED_HOME")
    assert default_home() == Path.home() / ".mammofed-site"
