"""Random numbers that nobody can foresee or compute again: noise is no protection where its seed is known.

NumPy's distributions over ChaCha20 (randomgen), under a fresh key of 256 bits. What floating point leaves out
of a continuous distribution (Mironov, CCS 2012) is not hidden by that; see docs/privacy.md.
"""

from __future__ import annotations

import secrets

from numpy.random import Generator
from randomgen import ChaCha

KEY_BITS, ROUNDS = 256, 20


def fresh_chance() -> Generator:
    """A generator under a key that nobody has."""
    return chance_of(secrets.randbits(KEY_BITS))


def chance_of(key: int) -> Generator:
    """A generator under a key that is kept: whoever has it can take the noise off."""
    return Generator(ChaCha(key=key, rounds=ROUNDS))
