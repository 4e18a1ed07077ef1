"""The masks themselves: sums of streams of words modulo 2^32, the same at whoever has the keys.

A ring of 2^k with k up to 32 divides 2^32, so that what cancels modulo 2^32 cancels in the ring as well. For
what is added up modulo 2^64 two words of each stream make one, before streams are added.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from shared.fixed_point.grid import Grid
from shared.trust.agreement import AgreementKey, KeyStream


class Mask:
    """The words of some streams added up, and of others taken off."""

    def __init__(self, *, adds: Collection[bytes], takes: Collection[bytes]) -> None:
        self._adds = [KeyStream(key) for key in adds]
        self._takes = [KeyStream(key) for key in takes]

    def words(self, size: int) -> NDArray[np.uint32]:
        """The next `size` words of the mask."""
        total = np.zeros(size, np.uint32)
        for stream in self._adds:
            total += stream.words(size)
        for stream in self._takes:
            total -= stream.words(size)
        return total

    def long_words(self, size: int) -> NDArray[np.uint64]:
        """The next `size` words of 64 bits, from twice as many of each stream; drawn after all others."""
        total = np.zeros(size, np.uint64)
        for stream in self._adds:
            total += stream.words(2 * size).view("<u8")
        for stream in self._takes:
            total -= stream.words(2 * size).view("<u8")
        return total


def common_terms(grid: Grid, total: int) -> str:
    """What all sites of a sum have in common: the grid, and the whole that shares are of."""
    return f"{grid.digest}-{total}"


EVALUATION_TERMS = "evaluation"
"""The same where no update is added up, but metrics of the final weights alone."""


def agreed_key(own: AgreementKey, other: bytes, *, attempt: str, common: str) -> bytes:
    """The key of the stream between two sites in one attempt.

    Two that were told different `common_terms` come to different streams, which do not cancel: nobody reads a
    sum of updates that do not belong together.
    """
    return own.agree(other, f"mammofed mask stream 2 {attempt} {common}".encode())


def sealing_key(own: AgreementKey, other: bytes, *, attempt: str, sender: str) -> bytes:
    """The key for what one site tells another in one attempt."""
    return own.agree(other, b"mammofed mask shares 1 " + attempt.encode() + sender.encode())


def adds(site_id: str, other: str) -> bool:
    """Whether the first of two sites is the one that adds their stream; the other takes it off."""
    return site_id < other
