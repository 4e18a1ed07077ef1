"""Histograms have round edges and lose no value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.reporting.histogram import FEWEST_BINS, MOST_BINS, histogram, round_edges


def test_values_are_counted_and_what_is_unknown_is_counted_apart() -> None:
    counted = histogram("Spacing", "mm", [0.05, 0.15, 0.15, None, 0.25], edges=[0.0, 0.1, 0.2, 0.3])
    assert counted.counts == (1, 2, 1)
    assert counted.unknown == 1
    assert counted.bins() == (("0 to 0.1", 1), ("0.1 to 0.2", 2), ("0.2 to 0.3", 1))
    assert counted.quartiles == pytest.approx((0.125, 0.15, 0.175))
    assert counted.summary() == (
        "4 examples: median 0.15 mm, half of them 0.125 to 0.175 mm; not known for 1."
    )


def test_without_a_value_there_is_no_bin() -> None:
    counted = histogram("Area", "cm2", [None, None])
    assert (counted.counts, counted.edges, counted.unknown) == ((), (), 2)
    assert counted.summary() == "No example tells it; not known for 2."


def test_edges_are_round_numbers() -> None:
    assert round_edges(83.0, 207.0) == tuple(float(edge) for edge in range(80, 211, 10))
    assert 0.07 in round_edges(0.07, 0.07)


@given(
    st.lists(
        st.floats(0, 1e6, allow_subnormal=False).filter(lambda value: value == 0 or value > 1e-4), min_size=1
    )
)
def test_every_value_is_in_a_bin_and_the_bins_stay_few(values: list[float]) -> None:
    counted = histogram("Area", "cm2", values)
    assert sum(counted.counts) == len(values)
    assert FEWEST_BINS <= len(counted.counts) <= MOST_BINS
    assert list(counted.edges) == sorted(set(counted.edges))
    assert counted.edges[0] >= 0
