"""Persons at either role: their tokens, roles and signatures, and those who would borrow them."""

from __future__ import annotations

import base64
import hmac
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

import shared.persons.token
from client.store.opening import MIGRATIONS
from server.store.opening import open_coordinator_store
from shared.audit.log import AuditLog
from shared.errors import ConfigError, HomeError, NotFoundError, TamperedError, TrustError
from shared.persons.acting import Actor, local_name, who_acts
from shared.persons.person import PersonState
from shared.persons.register import Persons
from shared.persons.roles import MINIMAL_ROLE, Action, Role, may, require
from shared.persons.schema import person
from shared.persons.token import PREFIX, PersonToken, given_token
from shared.store import open_store, sqlite_url, transaction
from shared.trust.envelope import verify
from shared.trust.personal_keys import new_personal_key, open_personal_key

NOW = 1_700_000_000.0
KIND = "application/vnd.mammofed.approval+json"
ROLES: dict[str, Callable[[Path], Engine]] = {
    "coordinator": open_coordinator_store,
    "site": lambda folder: open_store(sqlite_url(folder / "site.db"), MIGRATIONS),
}


@pytest.fixture
def persons(engine: Engine) -> Persons:
    return Persons(engine)


@pytest.fixture
def ada(persons: Persons) -> PersonToken:
    return persons.add("ada", Role.ADMINISTRATOR, actor="local:root", at=NOW)


# -- coming and going


def test_a_person_is_found_by_the_token_and_by_nothing_else(persons: Persons, ada: PersonToken) -> None:
    bob = persons.add("bob", Role.VIEWER, actor="person:ada", at=NOW + 1)

    assert persons.find(PersonToken.parse(ada.reveal())).name == "ada"
    assert (persons.find(bob).name, persons.find(bob).role) == ("bob", Role.VIEWER)
    assert [(each.name, each.state, each.added_at) for each in persons.all()] == [
        ("ada", PersonState.ACTIVE, NOW),
        ("bob", PersonState.ACTIVE, NOW + 1),
    ]
    with pytest.raises(TrustError):
        persons.find(PersonToken.generate())


def test_coming_and_going_is_in_the_audit_log(engine: Engine, persons: Persons, ada: PersonToken) -> None:
    persons.add("bob", Role.OPERATOR, actor="person:ada", at=NOW)
    persons.disable("bob", actor="person:ada", at=NOW)

    lines = list(AuditLog(engine).lines())

    assert [(line.actor, line.name, line.subject) for line in lines] == [
        ("local:root", "person.added", "ada"),
        ("person:ada", "person.added", "bob"),
        ("person:ada", "person.disabled", "bob"),
    ]
    assert lines[0].details == {"role": "administrator", "key_id": persons.find(ada).verify_key.key_id}


def test_a_name_is_never_given_again(persons: Persons, ada: PersonToken) -> None:
    persons.add("bob", Role.VIEWER, actor="person:ada", at=NOW)
    persons.disable("bob", actor="person:ada", at=NOW)
    before = persons.all()

    for taken in ("ada", "bob"):
        with pytest.raises(ConfigError):
            persons.add(taken, Role.VIEWER, actor="person:ada", at=NOW)

    assert persons.all() == before


@pytest.mark.parametrize("name", ["", "Ada", "ada lovelace", "../ada", "person:ada", "1", "a" * 64, "ada\n"])
def test_a_name_that_could_be_mistaken_is_refused(name: str, engine: Engine, persons: Persons) -> None:
    with pytest.raises(ConfigError):
        persons.add(name, Role.ADMINISTRATOR, actor="local:root", at=NOW)

    assert persons.all() == []
    assert list(AuditLog(engine).lines()) == []


def test_nobody_can_lock_everybody_out(persons: Persons) -> None:
    with pytest.raises(ConfigError, match="first person"):
        persons.add("bob", Role.OPERATOR, actor="local:root", at=NOW)
    persons.add("ada", Role.ADMINISTRATOR, actor="local:root", at=NOW)
    persons.add("bob", Role.OPERATOR, actor="person:ada", at=NOW)
    with pytest.raises(ConfigError, match="last administrator"):
        persons.disable("ada", actor="person:ada", at=NOW)
    persons.add("eve", Role.ADMINISTRATOR, actor="person:ada", at=NOW)

    persons.disable("ada", actor="person:eve", at=NOW)

    with pytest.raises(ConfigError, match="last administrator"):
        persons.disable("eve", actor="person:eve", at=NOW)
    with pytest.raises(ConfigError, match="already"):
        persons.disable("ada", actor="person:eve", at=NOW)
    with pytest.raises(NotFoundError):
        persons.disable("nobody", actor="person:eve", at=NOW)


# -- borrowed tokens


def test_a_disabled_persons_token_does_nothing(persons: Persons, ada: PersonToken, tmp_path: Path) -> None:
    bob = persons.add("bob", Role.ADMINISTRATOR, actor="person:ada", at=NOW)
    signed = persons.sign_as(bob, KIND, b"approved")
    persons.disable("bob", actor="person:ada", at=NOW + 1)

    with pytest.raises(TrustError, match="disabled"):
        persons.find(bob)
    with pytest.raises(TrustError, match="disabled"):
        persons.sign_as(bob, KIND, b"approved")
    with pytest.raises(TrustError, match="disabled"):
        who_acts(persons, home=tmp_path, token=bob)

    former = next(each for each in persons.all() if each.name == "bob")
    assert (former.state, former.disabled_at) == (PersonState.DISABLED, NOW + 1)
    assert verify(signed, KIND, former.verify_key) == b"approved"


def test_the_token_of_another_side_is_nobodys_here(tmp_path: Path) -> None:
    folders = {role: tmp_path / role for role in ROLES}
    for folder in folders.values():
        folder.mkdir()
    at = {role: Persons(ROLES[role](folder)) for role, folder in folders.items()}
    tokens = {role: at[role].add("ada", Role.ADMINISTRATOR, actor="local:root", at=NOW) for role in ROLES}

    for here, there in itertools.permutations(ROLES):
        with pytest.raises(TrustError, match="nobody's here"):
            at[here].find(tokens[there])
        with pytest.raises(TrustError, match="nobody's here"):
            at[here].sign_as(tokens[there], KIND, b"approved")


def test_guessing_by_timing_learns_nothing_for_every_token_is_compared_with_every_hash(
    persons: Persons, ada: PersonToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [ada, *(persons.add(f"p{n}", Role.VIEWER, actor="person:ada", at=NOW) for n in range(3))]
    compared: list[tuple[str, str]] = []

    def compare(given: str, kept: str) -> bool:
        compared.append((given, kept))
        return hmac_compare(given, kept)

    hmac_compare = hmac.compare_digest
    monkeypatch.setattr(shared.persons.token.hmac, "compare_digest", compare)
    expected = {token.hash() for token in tokens}
    for token in tokens:
        persons.find(token)
        assert {kept for _, kept in compared} == expected
        assert len(compared) == 4
        compared.clear()
    with pytest.raises(TrustError):
        persons.find(PersonToken.generate())
    assert {kept for _, kept in compared} == expected


def test_what_is_stored_is_neither_the_token_nor_the_key(engine: Engine, ada: PersonToken) -> None:
    key = open_stored_key(engine, ada)

    with transaction(engine) as connection:
        stored = connection.execute(select(person)).one()
    content = b"\0".join(value if isinstance(value, bytes) else str(value).encode() for value in stored)
    raw = key._private.private_bytes_raw()
    secret = ada.key_secret()
    for hidden in (raw, secret):
        for form in (
            hidden,
            hidden.hex().encode(),
            base64.b64encode(hidden),
            base64.urlsafe_b64encode(hidden),
        ):
            assert form.rstrip(b"=") not in content


def test_a_persons_key_is_unreadable_without_the_token(engine: Engine, ada: PersonToken) -> None:
    with transaction(engine) as connection:
        row = connection.execute(select(person)).one()

    stolen = (PersonToken.generate().key_secret(), bytes.fromhex(row.token_hash), row.public_key, bytes(32))
    for secret in stolen:
        with pytest.raises(TamperedError):
            open_personal_key(row.sealed_key, secret, name="ada")
    for damaged in (b"", row.sealed_key[:12], row.sealed_key[:-1], row.sealed_key[:-1] + b"\0\0"):
        with pytest.raises(TamperedError):
            open_personal_key(damaged, ada.key_secret(), name="ada")
    assert open_stored_key(engine, ada).verify_key.raw == row.public_key


def test_a_key_put_in_the_place_of_anothers_signs_nothing(
    engine: Engine, persons: Persons, ada: PersonToken
) -> None:
    bob = persons.add("bob", Role.VIEWER, actor="person:ada", at=NOW)
    with transaction(engine) as connection:
        row = connection.execute(select(person).where(person.c.name == "bob")).one()
        connection.execute(update(person).where(person.c.name == "ada").values(sealed_key=row.sealed_key))
    _, by_eve = new_personal_key(bob.key_secret(), name="eve")

    with pytest.raises(TamperedError):
        persons.sign_as(ada, KIND, b"approved")

    with transaction(engine) as connection:
        connection.execute(update(person).where(person.c.name == "bob").values(sealed_key=by_eve))
    with pytest.raises(TamperedError):
        persons.sign_as(bob, KIND, b"approved")


def open_stored_key(engine: Engine, token: PersonToken):
    with transaction(engine) as connection:
        row = connection.execute(select(person)).one()
    return open_personal_key(row.sealed_key, token.key_secret(), name=row.name)


# -- signatures


def test_what_a_person_signed_is_theirs_and_nobody_elses(persons: Persons, ada: PersonToken) -> None:
    bob = persons.add("bob", Role.OPERATOR, actor="person:ada", at=NOW)

    signed = persons.sign_as(ada, KIND, b"plan 7")

    assert verify(signed, KIND, persons.find(ada).verify_key) == b"plan 7"
    with pytest.raises(TrustError):
        verify(signed, KIND, persons.find(bob).verify_key)
    with pytest.raises(TrustError):
        verify(signed, "application/vnd.mammofed.release+json", persons.find(ada).verify_key)


# -- the token in the hand


def test_a_token_prints_masked() -> None:
    token = PersonToken.generate()

    assert token.reveal() not in f"{token!r} {token}"
    assert token.reveal().startswith(PREFIX)
    assert len(base64.urlsafe_b64decode(token.reveal().removeprefix(PREFIX) + "=")) == 32


def test_no_two_tokens_are_alike() -> None:
    assert len({PersonToken.generate().reveal() for _ in range(100)}) == 100


GOOD = PersonToken.generate().reveal()


@pytest.mark.parametrize(
    "text",
    [
        "",
        PREFIX,
        GOOD.removeprefix(PREFIX),
        GOOD[:-1],
        GOOD + "A",
        GOOD + "=",
        GOOD[:-1] + "!",
        "mf1_" + GOOD,
    ],
    ids=[
        "empty",
        "prefix",
        "no prefix",
        "too short",
        "too long",
        "padded",
        "another alphabet",
        "another prefix",
    ],
)
def test_what_is_no_token_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(TrustError) as caught:
        PersonToken.parse(text)

    assert not text or text not in caught.value.message + caught.value.hint.replace(PREFIX, "")


def test_a_token_has_one_spelling() -> None:
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(GOOD[-1])
    other = GOOD[:-1] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last ^ 1]

    with pytest.raises(TrustError):
        PersonToken.parse(other)


def test_a_token_is_taken_from_the_file_or_else_from_the_environment(tmp_path: Path) -> None:
    in_file, in_environment = PersonToken.generate(), PersonToken.generate()
    file = tmp_path / "token"
    file.write_text(in_file.reveal() + "\n")
    file.chmod(0o600)
    environment = {"MAMMOFED_TOKEN": in_environment.reveal()}

    from_file, from_environment = given_token(environment, file), given_token(environment, None)

    assert from_file is not None
    assert from_file.reveal() == in_file.reveal()
    assert from_environment is not None
    assert from_environment.reveal() == in_environment.reveal()
    assert given_token({}, None) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_token_that_others_may_read_is_not_taken(mode: int, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(GOOD)
    file.chmod(mode)

    with pytest.raises(TrustError, match="other users"):
        given_token({}, file)


def test_a_file_that_holds_no_token_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for file in (tmp_path / "missing", tmp_path, binary):
        with pytest.raises(TrustError):
            given_token({}, file)


# -- who may do what


def test_every_action_has_its_role() -> None:
    assert set(MINIMAL_ROLE) == set(Action)


@pytest.mark.parametrize(
    ("action", "allowed"),
    [
        (Action.DATA_SHOW, {Role.VIEWER, Role.OPERATOR, Role.ADMINISTRATOR}),
        (Action.RUN_START, {Role.OPERATOR, Role.ADMINISTRATOR}),
        (Action.SITE_MANAGE, {Role.ADMINISTRATOR}),
    ],
)
def test_a_role_may_do_what_the_roles_before_it_may(action: Action, allowed: set[Role]) -> None:
    assert {role for role in Role if may(role, action)} == allowed
    for role in set(Role) - allowed:
        with pytest.raises(TrustError, match=role.value):
            require(role, action)
        with pytest.raises(TrustError):
            Actor(name="person:bob", role=role).require(action)


def test_with_nobody_named_the_owner_of_the_home_is_its_administrator(
    persons: Persons, tmp_path: Path
) -> None:
    actor = who_acts(persons, home=tmp_path, token=None)

    assert actor == Actor(name=local_name(os.getuid()), role=Role.ADMINISTRATOR)
    assert actor.name.startswith("local:")


def test_another_user_of_the_machine_is_nobody(
    persons: Persons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)

    with pytest.raises(TrustError, match="another user"):
        who_acts(persons, home=tmp_path, token=None)


def test_a_home_that_is_not_there_has_no_owner(persons: Persons, tmp_path: Path) -> None:
    with pytest.raises(HomeError):
        who_acts(persons, home=tmp_path / "missing", token=None)


def test_from_the_first_person_on_nobody_acts_without_a_token(
    persons: Persons, ada: PersonToken, tmp_path: Path
) -> None:
    with pytest.raises(TrustError, match="named persons"):
        who_acts(persons, home=tmp_path, token=None)

    assert who_acts(persons, home=tmp_path, token=ada) == Actor(name="person:ada", role=Role.ADMINISTRATOR)


def test_a_user_without_a_name_has_a_number() -> None:
    assert local_name(3_999_999_999) == "local:3999999999"
