"""Which versions of mammofed work together; the one place that judges it, for both sides.

Coordinator and site each learn the other's version and say how it fits. What they exchange is of one protocol
(`shared.record.PROTOCOL`), which holds over minor versions: a side that speaks another one is refused by
the records themselves. So neighbours in minor version work together, in either direction and within a run.
"""

from __future__ import annotations

import re
from enum import StrEnum

_FORM = re.compile(r"(\d{1,6})\.(\d{1,6})(?:\.\d{1,6})?(?:[.+-]?[a-z0-9.]{1,20})?", re.ASCII)


class Fit(StrEnum):
    """How another side's version fits this one's."""

    SAME = "same minor version"
    NEIGHBOUR = "one minor version apart: they work together"
    APART = "more than one minor version apart: update the older side"
    UNKNOWN = "not told"

    @property
    def is_good(self) -> bool:
        """Whether the two are meant to work together; what was not told is not held against anybody."""
        return self is not Fit.APART


def fit(own: str, other: str) -> Fit:
    """How two versions, such as `0.4.1` and `0.5.0`, fit."""
    ours, theirs = _FORM.fullmatch(own), _FORM.fullmatch(other)
    if ours is None or theirs is None:
        return Fit.UNKNOWN
    (major, minor), (other_major, other_minor) = ((int(each[1]), int(each[2])) for each in (ours, theirs))
    if major != other_major or abs(minor - other_minor) > 1:
        return Fit.APART
    return Fit.SAME if minor == other_minor else Fit.NEIGHBOUR
