"""Keyed hashes in place of identifiers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from client.intake.pseudonyms import KEY_FILE, Pseudonyms
from shared.errors import HomeError


def test_the_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    first = Pseudonyms.open(tmp_path, may_make=True).patient("PID-1")
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert Pseudonyms.open(tmp_path).patient("PID-1") == first


def test_another_site_gives_the_same_patient_another_pseudonym(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one, other = (Pseudonyms.open(tmp_path / name, may_make=True).patient("1") for name in "ab")
    assert one != other


def test_a_pseudonym_is_not_the_plain_hash_of_the_identifier(tmp_path: Path) -> None:
    pseudonyms = Pseudonyms.open(tmp_path, may_make=True)
    assert pseudonyms.patient("PID-1") != hashlib.sha256(b"PID-1").hexdigest()
    assert pseudonyms.patient("PID-1") != pseudonyms.source("PID-1")
    assert len(pseudonyms.patient("PID-1")) == 64


def test_a_damaged_key_is_an_error_and_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(HomeError):
        Pseudonyms.open(tmp_path)
    assert (tmp_path / KEY_FILE).read_bytes() == b"short"


@pytest.mark.parametrize("name", [b"M\xfcller".decode("utf-8", "surrogateescape"), "\ud800"])
def test_a_name_that_is_no_text_has_a_pseudonym_of_its_own(name: str) -> None:
    pseudonyms = Pseudonyms(b"k" * 32)
    assert len({pseudonyms.source(name), pseudonyms.source("Muller"), pseudonyms.source("")}) == 3


def test_the_key_is_not_printed() -> None:
    assert "k" * 32 not in repr(Pseudonyms(b"k" * 32))
