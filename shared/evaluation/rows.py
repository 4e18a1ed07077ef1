"""Rows of numbers that add up, one for each statistic: how a site writes them, and how their sums are read.

A row is 1 for a site that tells the statistic, then the images and sums over them; all are zero where a site
does not tell it. A statistic over one image has no spread and is told in no sum; what one site alone tells is
not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.evaluation.together import LEAST_TELLING

LEAST_IMAGES = 2

Row = Sequence[float]


@dataclass(slots=True, kw_only=True)
class Sums:
    """The sums of the rows of so many sites, read from left to right."""

    numbers: Row
    num_sites: int
    place: int = 0

    def take(self, size: int) -> Row:
        """The next ones."""
        self.place += size
        return self.numbers[self.place - size : self.place]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """One row.

    Attributes
    ----------
    numbers
        What a site tells: the images, and sums over them.
    read
        The statistic, from the sums of these.
    """

    size: int
    numbers: Callable[[Any], Row]
    read: Callable[[Row], Any]

    def rows(self, told: Any) -> Iterator[Row]:
        """The row of what a site tells; None tells nothing."""
        numbers = () if told is None else self.numbers(told)
        if not numbers or numbers[0] < LEAST_IMAGES:
            yield (0.0,) * (1 + self.size)
        else:
            yield (1.0, *numbers)

    def pooled(self, sums: Sums) -> Any:
        """The statistic over all sites; None if too few tell it. Raises ValueError."""
        num_telling, *numbers = sums.take(1 + self.size)
        if num_telling not in range(sums.num_sites + 1):
            raise ValueError("no number of sites")
        if num_telling < LEAST_TELLING or round(numbers[0]) < LEAST_IMAGES:
            return None
        return self.read(numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Several:
    """Rows of several statistics, one after the other.

    Attributes
    ----------
    split
        What a site tells of each, by name.
    join
        All of it, from what is told of each; not asked where nothing is told.
    """

    parts: Mapping[str, Statistic | Several]
    join: Callable[..., Any]
    split: Callable[[Any], Mapping[str, Any]] = dict

    def rows(self, told: Any) -> Iterator[Row]:
        """The rows of what a site tells; None tells nothing."""
        of_parts = {} if told is None else self.split(told)
        for name, part in self.parts.items():
            yield from part.rows(of_parts.get(name))

    def pooled(self, sums: Sums) -> Any:
        """The statistics over all sites; None if too few tell any. Raises ValueError."""
        found = {name: part.pooled(sums) for name, part in self.parts.items()}
        return None if all(each is None for each in found.values()) else self.join(**found)
