"""Sealed records: readable with their key and in their place, and in no other way."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from shared.errors import TamperedError, TrustError
from shared.trust.sealing import KEY_BYTES, SealingKey


@pytest.fixture
def key(tmp_path: Path) -> SealingKey:
    return SealingKey.open(tmp_path / "keys" / "test.key")


def test_a_record_comes_back_and_no_two_sealings_are_alike(key: SealingKey) -> None:
    first, second = key.seal(b"mammogram", b"place 1"), key.seal(b"mammogram", b"place 1")

    assert first != second
    assert b"mammogram" not in first
    assert key.unseal(first, b"place 1") == key.unseal(memoryview(second), b"place 1") == b"mammogram"


def test_a_flipped_bit_anywhere_is_noticed(key: SealingKey) -> None:
    sealed = key.seal(b"mammogram", b"place 1")
    for position in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[position] ^= 1
        with pytest.raises(TamperedError):
            key.unseal(bytes(damaged), b"place 1")


@pytest.mark.parametrize("length", [0, 5, 12, 20])
def test_a_record_that_is_cut_off_is_noticed(key: SealingKey, length: int) -> None:
    with pytest.raises(TamperedError):
        key.unseal(key.seal(b"mammogram", b"place 1")[:length], b"place 1")


def test_a_record_put_in_the_place_of_another_is_noticed(key: SealingKey) -> None:
    with pytest.raises(TamperedError):
        key.unseal(key.seal(b"mammogram", b"place 1"), b"place 2")


def test_another_key_opens_nothing(key: SealingKey, tmp_path: Path) -> None:
    other = SealingKey.open(tmp_path / "other.key")
    with pytest.raises(TamperedError):
        other.unseal(key.seal(b"mammogram", b"place 1"), b"place 1")


def test_the_key_is_its_owners_alone_and_never_printed(key: SealingKey, tmp_path: Path) -> None:
    file = tmp_path / "keys" / "test.key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes().hex() not in repr(key)
    assert [path.name for path in file.parent.iterdir()] == ["test.key"]


def test_a_file_that_is_no_key_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "test.key"
    file.write_bytes(b"short")
    with pytest.raises(TrustError):
        SealingKey.open(file)
    assert file.read_bytes() == b"short"


def _seal_first(file: Path, barrier: object, results: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    results.put(SealingKey.open(file).seal(b"mammogram", b""))  # type: ignore[attr-defined]


def test_processes_that_open_a_new_key_at_once_have_the_same(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    file = tmp_path / "test.key"
    processes = [context.Process(target=_seal_first, args=(file, barrier, results)) for _ in range(4)]
    for process in processes:
        process.start()
    sealed = [results.get(timeout=20) for _ in processes]
    for process in processes:
        process.join()

    assert file.stat().st_size == KEY_BYTES
    assert {SealingKey.open(file).unseal(one, b"") for one in sealed} == {b"mammogram"}
