"""The benchmark of secure aggregation carries a round through and compares sums."""

from __future__ import annotations

import pytest

from bench.flower_masking import measure_flower
from bench.masking import Case, measure


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_round_of_ten_sites_of_which_three_leave_costs_a_quarter_more_bytes(is_whole: bool) -> None:
    case = Case(num_values=70_000, num_sites=10, num_leaving=3, neighbours=None, is_whole=is_whole)

    cost = measure(case)

    assert cost.masked_bytes / cost.plain_bytes == pytest.approx(20 / 16, rel=0.002)
    assert cost.zstd_bytes < cost.plain_bytes
    assert 0 < cost.messages_bytes < 50_000


@pytest.mark.parametrize("neighbours", [None, 6])
def test_flowers_legacy_round_comes_to_its_mean_in_eight_bytes_a_value(neighbours: int | None) -> None:
    cost = measure_flower(num_values=5_000, num_sites=8, num_leaving=1, neighbours=neighbours)

    assert cost.masked_bytes == pytest.approx(8 * 5_000, rel=0.02)
    assert 0 < cost.messages_bytes < 50_000
    assert cost.unmask_s > 0
