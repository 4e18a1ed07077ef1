"""Days of studies as archives are asked for them: many stop after some hundreds of matches in silence."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

DAYS_PER_QUERY = 31
"""A month of a hospital's mammograms stays below what archives give at once."""


def date_ranges(from_date: date | None, until_date: date | None) -> Iterator[str]:
    """Ranges of dates (PS3.5 6.2, VR DA) that cover the days once; an open beginning stays one range."""
    if from_date is None:
        yield "" if until_date is None else f"-{until_date:%Y%m%d}"
        return
    last = until_date or date.today()
    first = from_date
    while first <= last:
        end = min(first + timedelta(days=DAYS_PER_QUERY - 1), last)
        yield f"{first:%Y%m%d}-{end:%Y%m%d}"
        first = end + timedelta(days=1)
