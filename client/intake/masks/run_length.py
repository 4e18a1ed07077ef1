"""COCO's run-length code: lengths of runs down the columns, from left to right, beginning with background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from client.imaging.breast_mask import Mask

MAX_RUNS = 1_000_000
"""A column of a mask has a few runs."""
_FIRST = 48
"""ASCII code of the character that means 0."""
_MORE, _SIGN, _BITS = 0x20, 0x10, 5


def decode_runs(counts: Sequence[int], shape: tuple[int, int]) -> Mask:
    """The region (rows, columns) that runs describe.

    Raises
    ------
    ValueError
        The runs do not fill the picture exactly.
    """
    height, width = shape
    if len(counts) > MAX_RUNS or any(not 0 <= count <= height * width for count in counts):
        raise ValueError
    if sum(counts) != height * width:
        raise ValueError
    values = np.arange(len(counts)) % 2 == 1
    region_HW: Mask = np.repeat(values, np.array(counts, np.int64)).reshape(width, height).T
    return region_HW


def unpack_counts(text: str) -> list[int]:
    """The run lengths in a compressed string.

    From the fourth on, a length is written as its difference from the length two before it. A number is
    written in groups of five bits, lowest first, with a sixth bit for "more follows", each as one character
    from '0' on. The highest bit of the last group is the sign.

    Raises
    ------
    ValueError
        It is no such string.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - _FIRST
        if not 0 <= group < 2 * _MORE or shift > 60 or len(counts) >= MAX_RUNS:
            raise ValueError
        value |= (group & (_MORE - 1)) << shift
        shift += _BITS
        if not group & _MORE:
            if group & _SIGN:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError
    return counts
