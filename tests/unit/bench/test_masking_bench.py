"""The benchmark of secure aggregation carries a round through and compares sums."""

from __future__ import annotations

import pytest

from bench.masking import Case, measure


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_round_of_ten_sites_of_which_three_leave_costs_a_quarter_more_bytes(is_whole: bool) -> None:
    case = Case(num_values=70_000, num_sites=10, num_leaving=3, neighbours=None, is_whole=is_whole)

    cost = measure(case)

    assert cost.masked_bytes / cost.plain_bytes == pytest.approx(20 / 16, rel=0.002)
    assert cost.zstd_bytes < cost.plain_bytes
    assert 0 < cost.messages_bytes < 50_000
