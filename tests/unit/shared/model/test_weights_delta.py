"""Weights as what has changed: the very same bytes again, and nothing from what is no delta of them."""

from __future__ import annotations

import hashlib
import io
import struct

import numpy as np
import pytest

from shared.errors import WeightsError
from shared.model.tensor_file import TensorFile
from shared.model.weights_delta import BLOCK_WORDS, MOST_WAITING, apply_delta, write_delta

SHAPES = {"kernel": (3, BLOCK_WORDS // 2), "bias": (7,)}


def weights_file(seed: int, *, moved: float = 0.0) -> bytes:
    """Weights drawn from a seed and then moved by at most so much."""
    random, moves = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    file = io.BytesIO()
    written = TensorFile.create(file, SHAPES)
    for name, shape in SHAPES.items():
        values = random.normal(size=shape).reshape(-1)
        written.write(name, 0, values + moved * moves.uniform(-1, 1, values.size))
    return file.getvalue()


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def delta_of(old: bytes, new: bytes) -> bytes:
    delta = io.BytesIO()
    write_delta(io.BytesIO(old), io.BytesIO(new), delta, old_digest=digest_of(old), size_bytes=len(new))
    return delta.getvalue()


def applied(old: bytes, delta: bytes, *, old_digest: str = "", size_bytes: int | None = None) -> bytes:
    new = io.BytesIO()
    apply_delta(
        io.BytesIO(old),
        io.BytesIO(delta),
        new,
        old_digest=old_digest or digest_of(old),
        size_bytes=len(old) if size_bytes is None else size_bytes,
    )
    return new.getvalue()


def test_more_blocks_than_are_packed_at_once_come_in_their_order() -> None:
    random = np.random.default_rng(3)
    num_words = (2 * MOST_WAITING + 1) * BLOCK_WORDS + 5
    old, new = (random.integers(0, 2**32, num_words, np.uint32).tobytes() for _ in range(2))

    assert applied(old, delta_of(old, new)) == new


@pytest.mark.parametrize("moved", [0.0, 1e-6, 1e-2, 10.0])
def test_a_delta_leads_to_the_very_bytes_of_the_new_weights(moved: float) -> None:
    old, new = weights_file(1), weights_file(1, moved=moved)

    assert applied(old, delta_of(old, new)) == new


def test_any_words_come_back_even_those_that_are_no_numbers() -> None:
    words = [0, 1, 0x7F800000, 0xFF800000, 0x7FC00001, 0x80000000, 0xFFFFFFFF, 0x3F800000]
    old = struct.pack("<8I", *words)
    new = struct.pack("<8I", *reversed(words))

    assert applied(old, delta_of(old, new)) == new


def test_the_smaller_the_change_the_shorter_the_delta() -> None:
    old = weights_file(1)
    sizes = [len(delta_of(old, weights_file(1, moved=moved))) / len(old) for moved in (0.0, 1e-4, 1e-2)]

    # all alike packs to nothing; changes of a ten-thousandth and a hundredth keep some 12 and 18 of 32 bits
    assert sizes[0] < 0.01
    assert sizes[0] < sizes[1] < 0.6
    assert sizes[1] < sizes[2] < 0.8


def test_a_delta_of_other_weights_is_refused() -> None:
    old, new = weights_file(1), weights_file(2)

    with pytest.raises(WeightsError, match="of other files"):
        applied(old, delta_of(old, new), old_digest=digest_of(new))
    with pytest.raises(WeightsError, match="of other files"):
        applied(old, delta_of(old, new), size_bytes=len(old) - 4)


def test_a_delta_that_was_cut_short_or_goes_on_is_refused() -> None:
    old, new = weights_file(1), weights_file(1, moved=1e-3)
    delta = delta_of(old, new)

    for damaged in (b"", delta[:40], delta[:-1], delta + b"\0"):
        with pytest.raises(WeightsError):
            applied(old, damaged)


def test_no_more_is_made_than_the_old_weights_hold() -> None:
    """A delta that promises a file without end of zeros, which pack to almost nothing."""
    old = weights_file(1)
    endless = bytes(64 * len(old))
    delta = io.BytesIO()
    write_delta(
        io.BytesIO(endless),
        io.BytesIO(endless),
        delta,
        old_digest=digest_of(old),
        size_bytes=len(endless),
    )
    new = io.BytesIO()

    with pytest.raises(WeightsError, match="too short"):
        apply_delta(
            io.BytesIO(old),
            io.BytesIO(delta.getvalue()),
            new,
            old_digest=digest_of(old),
            size_bytes=len(endless),
        )

    assert len(new.getvalue()) <= len(old)
