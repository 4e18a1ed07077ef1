"""A secret in shares of which so many tell it, and fewer tell nothing (Shamir, CACM 1979).

A polynomial over the integers modulo a prime has the secret as its value at 0, and other coefficients that
are random; a share is its value at 1, 2, 3, ... The prime is the first after 2^256: every 32 bytes are a
secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping

from shared.errors import TamperedError

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33


def split(
    secret: bytes,
    *,
    threshold: int,
    points: Collection[int],
    draw: Callable[[int], int] = secrets.randbelow,
) -> dict[int, bytes]:
    """Shares of the 32 bytes of a secret by the points that they are for, of which `threshold` tell it.

    Parameters
    ----------
    points
        Different numbers of 1 or more.
    draw
        A random number from 0 up to one below its argument.
    """
    assert len(secret) == SECRET_BYTES
    assert 1 <= threshold <= len(set(points)) == len(points)
    assert min(points) > 0
    coefficients = [int.from_bytes(secret, "big"), *(draw(PRIME) for _ in range(threshold - 1))]
    return {point: _value_at(coefficients, point).to_bytes(SHARE_BYTES, "big") for point in points}


def join(shares: Mapping[int, bytes], *, threshold: int) -> bytes:
    """The secret that shares tell, by the points that they are for: as many as its threshold, or more.

    Raises
    ------
    TamperedError
        They are too few, or are not all of one secret.
    """
    values = {point: int.from_bytes(shares[point], "big") for point in sorted(shares)}
    if len(values) < threshold or any(value >= PRIME for value in values.values()):
        raise _wrong()
    first = dict(list(values.items())[:threshold])
    secret = _interpolate(first, at=0)
    others = values.keys() - first.keys()
    if secret >= 256**SECRET_BYTES or any(_interpolate(first, at=each) != values[each] for each in others):
        raise _wrong()
    return secret.to_bytes(SECRET_BYTES, "big")


def _value_at(coefficients: list[int], point: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % PRIME
    return value


def _interpolate(values: Mapping[int, int], *, at: int) -> int:
    """The value at a point of the one polynomial through all of these (Lagrange)."""
    total = 0
    for point, value in values.items():
        above, below = 1, 1
        for other in values.keys() - {point}:
            above = above * (at - other) % PRIME
            below = below * (point - other) % PRIME
        total += value * above * pow(below, -1, PRIME)
    return total % PRIME


def _wrong() -> TamperedError:
    return TamperedError(
        "The shares of a mask do not fit together.",
        "The round is void; `run show` tells which sites answered. If it recurs, one of them is hostile.",
    )
