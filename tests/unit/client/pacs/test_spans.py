"""Long spans of days are asked for in pieces that neither overlap nor leave a day out."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.pacs.archive import Query
from client.pacs.spans import DAYS_PER_QUERY, date_ranges
from shared.errors import ConfigError


@given(st.dates(date(1990, 1, 1), date(2090, 1, 1)), st.integers(0, 500))
def test_every_day_is_asked_for_once(first: date, num_more: int) -> None:
    last = first + timedelta(days=num_more)
    days: list[date] = []
    for span in date_ranges(first, last):
        begin, end = (date.fromisoformat(one) for one in span.split("-"))
        assert (end - begin).days < DAYS_PER_QUERY
        days += [begin + timedelta(days=day) for day in range((end - begin).days + 1)]
    assert days == [first + timedelta(days=day) for day in range(num_more + 1)]


def test_open_ends_stay_open() -> None:
    assert list(date_ranges(None, None)) == [""]
    assert list(date_ranges(None, date(2024, 2, 29))) == ["-20240229"]
    today = date.today()
    assert list(date_ranges(today, None)) == [f"{today:%Y%m%d}-{today:%Y%m%d}"]


def test_a_query_that_can_find_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="last day"):
        Query(from_date=date(2024, 1, 2), until_date=date(2024, 1, 1))
    with pytest.raises(ConfigError, match="limit"):
        Query(limit=0)
