"""Numbers that add up as words of 64 bits, so that masks hide those of one site and cancel in the sum of all.

A number is rounded to a multiple of 2^-28, so that a sum over n sites is off by n * 2^-29 at most. With at
least five images of each site a mean is then off by less than 4e-10, and a variance about a mean of x by less
than 4e-10 * (1 + 2|x|) (`shared.evaluation.sums` has the units). Words are added modulo 2^64 and read as the
integers nearest to zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FRACTION_BITS = 28
WORD_CHARACTERS = 16
"""Of a word in hex."""


def to_words(rows: Sequence[Sequence[float]], *, num_sites: int) -> NDArray[np.uint64]:
    """The words of one site's numbers, row by row.

    A row with a number so large that a sum of so many sites might not hold it is left out: it is zero.

    Parameters
    ----------
    rows
        Statistics; each is told whole or not at all.
    num_sites
        That a sum can be of.
    """
    most = (2**63 - 1) // num_sites
    words: list[int] = []
    for row in rows:
        fits = all(abs(number) * 2**FRACTION_BITS < most for number in row)
        words += [round(number * 2**FRACTION_BITS) % 2**64 if fits else 0 for number in row]
    return np.array(words, np.uint64)


def to_numbers(words: NDArray[np.uint64]) -> list[float]:
    """The sums that words hold, once no mask is on them."""
    return [int(word) / 2**FRACTION_BITS for word in words.view(np.int64)]


def to_text(words: NDArray[np.uint64]) -> str:
    """As a record carries them: hex, the lowest byte first."""
    return words.astype("<u8").tobytes().hex()


def from_text(text: str) -> NDArray[np.uint64]:
    """The words that a record carries."""
    return np.frombuffer(bytes.fromhex(text), "<u8").astype(np.uint64)
