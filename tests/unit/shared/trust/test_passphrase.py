"""What is sealed by a passphrase comes back whole, or not at all."""

from __future__ import annotations

import io
import secrets
import tracemalloc
import unicodedata

import pytest

import shared.trust.passphrase
from shared.errors import ConfigError, TamperedError, TrustError
from shared.trust.passphrase import (
    CHUNK_BYTES,
    MAGIC,
    Passphrase,
    UnsealingReader,
    sealed,
    sealing,
    unsealed,
)

WORDS = Passphrase("tundra copper violin")
HEADER_BYTES, SEALED_CHUNK_BYTES = len(MAGIC) + 48, CHUNK_BYTES + 16


@pytest.fixture(autouse=True)
def quick_guesses(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "dear" not in request.node.name:
        monkeypatch.setattr(shared.trust.passphrase, "_SCRYPT_N", 2)


@pytest.fixture
def content() -> bytes:
    """Of three chunks and a part."""
    return secrets.token_bytes(3 * CHUNK_BYTES + 1000)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
def test_what_was_sealed_comes_back_whatever_its_size(size: int) -> None:
    content = secrets.token_bytes(size)

    assert unsealed(sealed(content, WORDS), WORDS) == content


def test_it_is_written_and_read_in_any_pieces(content: bytes) -> None:
    target = io.BytesIO()
    with sealing(target, WORDS) as writer:
        for start in range(0, len(content), 700_001):
            writer.write(content[start : start + 700_001])
    reader, pieces = UnsealingReader(io.BytesIO(target.getvalue()), WORDS), []

    while piece := reader.read(333_333):
        pieces.append(piece)

    assert b"".join(pieces) == content
    assert len(target.getvalue()) == HEADER_BYTES + len(content) + 4 * 16


def test_the_same_is_sealed_otherwise_each_time_and_shows_nothing(content: bytes) -> None:
    first, second = sealed(content, WORDS), sealed(content, WORDS)

    assert first[len(MAGIC) : HEADER_BYTES] != second[len(MAGIC) : HEADER_BYTES]
    assert content[:64] not in first


def test_another_passphrase_opens_nothing_and_is_told_as_such(content: bytes) -> None:
    with pytest.raises(TrustError, match="passphrase does not open"):
        UnsealingReader(io.BytesIO(sealed(content, WORDS)), Passphrase("tundra copper viola"))


def test_a_passphrase_is_the_same_from_every_keyboard() -> None:
    composed, decomposed = (unicodedata.normalize(form, "förälskelse åäö") for form in ("NFC", "NFD"))

    assert composed != decomposed
    assert unsealed(sealed(b"key", Passphrase(composed)), Passphrase(decomposed)) == b"key"


def _chunk(number: int) -> slice:
    return slice(HEADER_BYTES + number * SEALED_CHUNK_BYTES, HEADER_BYTES + (number + 1) * SEALED_CHUNK_BYTES)


def _flip(position: int):
    def change(whole: bytes) -> bytes:
        return whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]

    return change


ATTACKS = {
    "tampering with the first chunk": _flip(HEADER_BYTES + 5),
    "tampering with the last byte": lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
    "truncation within a chunk": lambda whole: whole[:-1],
    "truncation at a chunk's end": lambda whole: whole[: _chunk(2).stop],
    "truncation to the header": lambda whole: whole[:HEADER_BYTES],
    "appending": lambda whole: whole + b"x",
    "appending a chunk again": lambda whole: whole + whole[_chunk(0)],
    "reordering": lambda whole: (
        whole[:HEADER_BYTES] + whole[_chunk(1)] + whole[_chunk(0)] + whole[_chunk(2).start :]
    ),
    "leaving out": lambda whole: whole[: _chunk(1).start] + whole[_chunk(1).stop :],
    "splicing": lambda whole: (
        whole[: _chunk(1).start]
        + sealed(bytes(2 * CHUNK_BYTES + 1), WORDS)[_chunk(1)]
        + whole[_chunk(2).start :]
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_change_of_the_sealed_bytes_is_noticed(attack: str, content: bytes) -> None:
    changed = ATTACKS[attack](sealed(content, WORDS))

    with pytest.raises(TamperedError, match="changed, or a part of it is missing"):
        UnsealingReader(io.BytesIO(changed), WORDS).drain()


@pytest.mark.parametrize("position", [len(MAGIC), HEADER_BYTES - 1])
def test_a_changed_salt_or_tag_is_as_another_passphrase(position: int, content: bytes) -> None:
    with pytest.raises(TrustError, match="passphrase does not open"):
        UnsealingReader(io.BytesIO(_flip(position)(sealed(content, WORDS))), WORDS)


@pytest.mark.parametrize("held", [b"", b"something else" * 100, MAGIC, _flip(3)(MAGIC) + bytes(100)], ids=len)
def test_a_file_of_another_kind_is_told(held: bytes) -> None:
    with pytest.raises(ConfigError, match="not sealed by a passphrase"):
        UnsealingReader(io.BytesIO(held), WORDS)


def test_no_chunk_is_given_out_before_it_was_verified(content: bytes) -> None:
    reader = UnsealingReader(io.BytesIO(_flip(_chunk(1).start)(sealed(content, WORDS))), WORDS)

    assert reader.read(CHUNK_BYTES) == content[:CHUNK_BYTES]
    with pytest.raises(TamperedError):
        reader.read(1)


def test_a_long_stream_needs_no_memory() -> None:
    class Nowhere(io.BytesIO):
        size = 0

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.size += len(data)
            return len(data)

    target, piece = Nowhere(), bytes(1 << 20)
    tracemalloc.start()
    with sealing(target, WORDS) as writer:
        for _ in range(64):
            writer.write(piece)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert target.size == HEADER_BYTES + 64 * SEALED_CHUNK_BYTES
    assert peak_bytes < 8 << 20


def test_guessing_is_dear_and_the_form_stays() -> None:
    kept = bytes.fromhex(
        "6d616d6d6f666564207365616c65642076310a00e909ad12b80a0722366e44881ad59d5d7520b8ace52d3b7d"
        "7dc208317d33a64cdb1e1ca203329c37e1f468f3283bc0a488e0039b199ffca0d004def81a4d30ae9975ef02"
        "0c8c965a3911794f8ed3ac7c1fdf6b3b913080e109"
    )

    assert unsealed(kept, WORDS) == b"kept by the first version"


def test_the_passphrase_is_not_shown() -> None:
    assert "tundra" not in repr(WORDS)
    assert "tundra" not in str(WORDS)
