"""Chance: fair to a fine test, and never the same twice."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from randomgen import ChaCha
from scipy.stats import kstest

from shared.chance import KEY_BITS, ROUNDS, chance_of, fresh_chance


def test_words_are_those_of_chacha20_under_the_whole_key() -> None:
    """The same cipher of another maker gives the same words, so that no bit of the key is left out."""
    key = bytes(range(32))
    whole = ChaCha(key=int.from_bytes(key, "little"), rounds=ROUNDS)

    words = np.asarray(whole.random_raw(64), dtype=np.uint64)

    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(8 * 64))
    assert (words == np.frombuffer(stream, "<u8")).all()
    assert 8 * len(key) == KEY_BITS


@pytest.mark.parametrize("bit", [0, 63, 64, 127, 128, 191, 192, 255])
def test_guessing_the_key_every_bit_of_it_changes_the_stream(bit: int) -> None:
    plain, changed = chance_of(0).random(100), chance_of(1 << bit).random(100)

    assert not np.intersect1d(plain, changed).size


def test_normal_numbers_are_normal() -> None:
    numbers = chance_of(7).standard_normal(200_000)

    assert kstest(numbers, "norm").pvalue > 0.01
    assert abs(np.mean(numbers[1:] * numbers[:-1])) < 0.01


def test_two_generators_have_nothing_in_common() -> None:
    first, second = fresh_chance().standard_normal(1000), fresh_chance().standard_normal(1000)

    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2
    assert not np.intersect1d(first, second).size
