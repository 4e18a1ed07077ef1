"""Which images an evaluation may be over, so that no two that are told differ in a few of them.

Whoever has two means over sets that differ in one image has the value of that image. So whatever is told is
over a set that equals each one told before, or differs from it in no fewer images than may be told of.
"""

from __future__ import annotations

from collections.abc import Sequence

Images = frozenset[str]


def images_to_tell_of(now: Images, told: Sequence[Images], *, smallest: int) -> Images | None:
    """All images that are here; or else those told of last, if they are all still here; or else none.

    Parameters
    ----------
    now
        Images that could be evaluated; one with another mask is another image.
    told
        Sets that were told of before, oldest first.
    smallest
        Number of images that may be told of.
    """
    for candidate in (now, *reversed(told)):
        if smallest <= len(candidate) and candidate <= now and _is_steady(candidate, told, smallest):
            return candidate
    return None


def _is_steady(candidate: Images, told: Sequence[Images], smallest: int) -> bool:
    return all(not candidate ^ before or len(candidate ^ before) >= smallest for before in told)
