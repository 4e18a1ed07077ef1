"""How much each site counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.weighting import SiteWeights, first_of_a_quorum


def test_a_site_weighs_as_much_as_its_examples_and_at_least_a_tenth_of_the_largest() -> None:
    weights = SiteWeights.of_counts({"cork": 1000, "aarhus": 300, "bergen": 7})

    assert weights.weights == {"aarhus": 3000, "bergen": 1000, "cork": 10_000}
    assert weights.total == 14_000
    assert weights.share("bergen") == pytest.approx(1 / 14)
    assert weights.largest_share == pytest.approx(10 / 14)
    assert weights.answered(["aarhus", "cork"]) == pytest.approx(13 / 14)


def test_where_every_site_counts_alike_shares_are_equal() -> None:
    weights = SiteWeights.of_counts({"cork": 1000, "aarhus": 7}).alike(num_first=2)

    assert (weights.share("cork"), weights.share("aarhus"), weights.largest_share) == (0.5, 0.5, 0.5)


def test_a_site_that_comes_later_changes_no_others_share() -> None:
    weights = SiteWeights.of_batches([{"aarhus": 10, "cork": 30}, {"bergen": 1}, {"derry": 20}])

    assert weights.weights == {"aarhus": 100, "bergen": 30, "cork": 300, "derry": 200}
    assert weights.total == 400
    assert weights.largest_share == 0.75


def test_a_site_that_comes_later_counts_no_more_than_the_largest_of_the_first() -> None:
    first = {"aarhus": 100, "cork": 300}
    weights = SiteWeights.of_batches([first, {"mallory": 10_000_000}])

    assert weights.share("mallory") == weights.share("cork") == 0.75
    # The grid of the round that it comes into was made for this largest share: its update is not clipped.
    assert weights.largest_share == SiteWeights.of_counts(first).largest_share


def test_weights_are_frozen_on_a_quorum_and_never_on_fewer_sites() -> None:
    counted = [{"aarhus": 1}, {"bergen": 1000}, {"cork": 30}]

    assert first_of_a_quorum([], quorum=2) == []
    assert first_of_a_quorum(counted[:1], quorum=2) == []
    assert first_of_a_quorum(counted, quorum=2) == [{"aarhus": 1, "bergen": 1000}, {"cork": 30}]
    assert first_of_a_quorum(counted, quorum=3) == [{"aarhus": 1, "bergen": 1000, "cork": 30}]


@given(counts=st.dictionaries(st.text("abc", min_size=1), st.integers(1, 10**7), min_size=1))
def test_shares_of_all_sites_make_a_whole_and_none_is_less_than_a_tenth_of_the_largest(
    counts: dict[str, int],
) -> None:
    weights = SiteWeights.of_counts(counts)

    shares = [weights.share(site) for site in counts]
    assert sum(shares) == pytest.approx(1.0)
    assert weights.answered(list(counts)) == 1.0
    assert min(shares) >= 0.1 * max(shares) * (1 - 1e-12)
