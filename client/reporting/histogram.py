"""How values are spread: counts in bins with round edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_BINS = 16
FEWEST_BINS = 5
NARROWEST = 0.01
"""Width of a bin as a share of the largest value: differences below say nothing."""
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
"""Round steps within one power of ten."""
DIGITS = 10
"""Significant decimals of an edge: beyond, there is only the noise of floating point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of a quantity.

    Attributes
    ----------
    title
        The quantity.
    unit
        Of edges and quartiles; empty for none.
    edges
        Ascending, one more than `counts`; a bin holds its lower edge, the last one both. Empty without
        values.
    quartiles
        First quartile, median, third quartile; None without values.
    unknown
        Examples for which the quantity is not known.
    """

    title: str
    unit: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    quartiles: tuple[float, float, float] | None
    unknown: int

    def bins(self) -> tuple[tuple[str, int], ...]:
        """Each bin in words, with its count."""
        return tuple(
            (f"{low:g} to {high:g}", count)
            for low, high, count in zip(self.edges[:-1], self.edges[1:], self.counts, strict=True)
        )

    def summary(self) -> str:
        """The histogram on one line."""
        known = sum(self.counts)
        missing = f"; not known for {self.unknown}" if self.unknown else ""
        if self.quartiles is None:
            return f"No example tells it{missing}."
        first, median, third = (f"{value:.3g}" for value in self.quartiles)
        unit = f" {self.unit}" if self.unit else ""
        return f"{known} examples: median {median}{unit}, half of them {first} to {third}{unit}{missing}."

    def to_json(self) -> dict[str, object]:
        """The histogram as plain JSON values."""
        return {
            "title": self.title,
            "unit": self.unit,
            "edges": list(self.edges),
            "counts": list(self.counts),
            "quartiles": None if self.quartiles is None else [round(value, 6) for value in self.quartiles],
            "unknown": self.unknown,
        }


def histogram(
    title: str, unit: str, values: Sequence[float | None], edges: Sequence[float] | None = None
) -> Histogram:
    """Count values; None is unknown.

    Parameters
    ----------
    edges
        Bins that hold every value; round ones are chosen when they are left out.
    """
    known = [value for value in values if value is not None]
    if not known:
        return Histogram(title=title, unit=unit, edges=(), counts=(), quartiles=None, unknown=len(values))
    chosen = tuple(edges) if edges is not None else round_edges(min(known), max(known))
    counts, _ = np.histogram(known, chosen)
    first, median, third = np.percentile(known, (25, 50, 75)).tolist()
    return Histogram(
        title=title,
        unit=unit,
        edges=chosen,
        counts=tuple(counts.tolist()),
        quartiles=(first, median, third),
        unknown=len(values) - len(known),
    )


def round_edges(low: float, high: float) -> tuple[float, ...]:
    """Edges of bins of one round width that hold everything from low to high, both at least 0.

    There are `FEWEST_BINS` to `MOST_BINS`; few values get empty bins beside them.
    """
    width = max((high - low) / (MOST_BINS - 1), NARROWEST * high) or 1.0
    power = 10.0 ** math.floor(math.log10(width))
    step = next(each * power for each in STEPS if each * power >= width * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = max(first + 1, math.ceil(high / step - 1e-9))
    while last - first < FEWEST_BINS:
        first, last = max(0, first - 1), last + 1
    return tuple(round(number * step, DIGITS) for number in range(first, last + 1))
