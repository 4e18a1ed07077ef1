"""Normal numbers that nobody can foresee or compute again: noise is no protection where its seed is known.

Uniform numbers of 53 bits from ChaCha20, under a fresh key of 256 bits that never leaves this process's
memory, turned into normal ones by Box and Muller (Ann. Math. Statist. 29, 1958). What floating point leaves
out of their distribution (Mironov, CCS 2012) is not hidden by that; see docs/privacy.md.
"""

from __future__ import annotations

import secrets

import numpy as np
from numpy.typing import NDArray

from shared.trust.agreement import KEY_BYTES, KeyStream

_BITS = 53
"""What a float64 holds of a whole number."""


class Chance:
    """A stream of random numbers under a key of its own.

    Parameters
    ----------
    key
        32 bytes; drawn afresh unless a test gives them.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._stream = KeyStream(key or secrets.token_bytes(KEY_BYTES))

    def uniform(self, size: int) -> NDArray[np.float64]:
        """Numbers above 0 and at most 1, in steps of 2^-53."""
        words = self._stream.words(2 * size).astype(np.uint64)
        whole = (words[:size] << np.uint64(32) | words[size:]) >> np.uint64(64 - _BITS)
        return (whole.astype(np.float64) + 1.0) / 2.0**_BITS

    def normal(self, size: int) -> NDArray[np.float64]:
        """Independent numbers of mean 0 and variance 1."""
        half = -(-size // 2)
        radius = np.sqrt(-2.0 * np.log(self.uniform(half)))
        angle = 2.0 * np.pi * self.uniform(half)
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]
