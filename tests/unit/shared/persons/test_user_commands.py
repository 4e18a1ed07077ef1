"""Persons at both command lines: who may do what, and what those leave behind who may not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.errors import TrustError
from shared.flower.environment import flower_environment
from shared.persons.acting import local_name
from shared.persons.token import VARIABLE
from tests.unit.shared.persons.sides import SideAtTerminal, sides

OWNER = local_name(os.getuid())


@pytest.fixture(params=["coordinator", "site"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> SideAtTerminal:
    return next(each for each in sides(tmp_path) if each.role == request.param)


def add(side: SideAtTerminal, name: str, role: str, *, by: str = "") -> str:
    token: str = side.call("user", "add", name, "--role", role, token=by)["token"]
    return token


def test_the_owner_of_the_home_adds_the_first_person_and_persons_act_from_then_on(
    side: SideAtTerminal,
) -> None:
    ada = add(side, "ada", "administrator")
    add(side, "bob", "viewer", by=ada)
    side.call("user", "disable", "bob", token=ada)

    assert side.deeds()[-3:] == [
        (OWNER, "person.added"),
        ("person:ada", "person.added"),
        ("person:ada", "person.disabled"),
    ]
    assert [(row["name"], row["role"], row["state"]) for row in side.call("user", "list")] == [
        ("ada", "administrator", "active"),
        ("bob", "viewer", "disabled"),
    ]


def test_the_token_is_shown_once_and_is_in_no_file_of_the_home(side: SideAtTerminal) -> None:
    ada = add(side, "ada", "administrator")

    shown_later = side.text("user", "list") + side.text("audit", "show", "--json")
    kept = b"".join(file.read_bytes() for file in side.home.rglob("*") if file.is_file())
    assert ada not in shown_later
    assert ada.encode() not in kept


def test_the_owner_of_the_home_without_a_token_does_nothing_once_there_is_a_person(
    side: SideAtTerminal,
) -> None:
    add(side, "ada", "administrator")
    before = side.deeds()

    with pytest.raises(TrustError, match="must be known who acts") as caught:
        add(side, "eve", "administrator")

    assert VARIABLE in caught.value.hint
    assert side.deeds() == before
    assert [row["name"] for row in side.call("user", "list")] == ["ada"]


def test_a_role_that_is_not_enough_is_refused_and_the_one_that_is_needed_is_named(
    side: SideAtTerminal,
) -> None:
    ada = add(side, "ada", "administrator")
    bob, vic = add(side, "bob", "operator", by=ada), add(side, "vic", "viewer", by=ada)
    before = side.deeds()

    with pytest.raises(TrustError) as caught:
        add(side, "eve", "viewer", by=bob)
    assert "administrator" in caught.value.hint
    with pytest.raises(TrustError) as caught:
        side.text("audit", "export", token=vic)
    assert "operator" in caught.value.hint

    assert side.deeds() == before
    assert '"person:ada"' in side.text("audit", "export", token=bob)


def test_a_token_may_come_from_a_private_file_named_before_the_command(
    side: SideAtTerminal, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(add(side, "ada", "administrator") + "\n")

    side.call("user", "add", "bob", "--role", "viewer", before=("--token-file", str(file)))

    assert side.deeds()[-1] == ("person:ada", "person.added")
    file.chmod(0o644)
    with pytest.raises(TrustError, match="open to other users"):
        side.call("user", "disable", "bob", before=("--token-file", str(file)))


def test_a_disabled_persons_token_opens_nothing(side: SideAtTerminal) -> None:
    ada = add(side, "ada", "administrator")
    eve = add(side, "eve", "administrator", by=ada)
    side.call("user", "disable", "eve", token=ada)
    before = side.deeds()

    with pytest.raises(TrustError, match="disabled"):
        side.call("user", "disable", "ada", token=eve)

    assert side.deeds() == before


def test_a_token_of_the_other_side_opens_nothing(tmp_path: Path) -> None:
    coordinator, site = sides(tmp_path)
    add(coordinator, "ada", "administrator")
    ada_at_site = add(site, "ada", "administrator")
    before = coordinator.deeds()

    with pytest.raises(TrustError, match="nobody's here"):
        add(coordinator, "eve", "administrator", by=ada_at_site)

    assert coordinator.deeds() == before


@pytest.mark.parametrize(
    ("role", "arguments"),
    [
        ("coordinator", ("site", "invite", "aarhus")),
        ("coordinator", ("site", "withdraw", "aarhus")),
        ("coordinator", ("site", "approve", "aarhus", "--fingerprint", "00")),
        ("coordinator", ("site", "reject", "aarhus")),
        ("coordinator", ("site", "revoke", "aarhus")),
        ("coordinator", ("run", "start", "{plan}")),
        ("coordinator", ("model", "download", "density-1", "--output", "{out}")),
        ("site", ("data", "add", "{out}")),
        ("site", ("data", "masks", "add", "{out}", "--annotator", "ab")),
        ("site", ("data", "remove", "--patient", "1")),
        ("site", ("data", "forget", "--yes")),
        ("site", ("data", "pull", "pacs")),
        ("site", ("data", "receive")),
        ("site", ("data", "report", "--page", "{out}")),
    ],
    ids=lambda each: each if isinstance(each, str) else " ".join(each[:3]),
)
def test_whoever_names_nobody_changes_nothing(role: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    side = next(each for each in sides(tmp_path) if each.role == role)
    add(side, "ada", "administrator")
    plan, out = tmp_path / "plan.toml", tmp_path / "out"
    plan.write_text('name = "density"\n[rounds]\ncount = 1\n')
    before = side.deeds()

    with pytest.raises(TrustError, match="must be known who acts"):
        side.call(*(each.format(plan=plan, out=out) for each in arguments))

    assert side.deeds() == before
    assert not out.exists()


def test_a_persons_token_goes_to_no_child_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, "mf_person_secret")

    environment = flower_environment(tmp_path)

    assert VARIABLE not in environment
    assert environment["PATH"] == os.environ["PATH"]
