"""The split into parts."""

from __future__ import annotations

from collections import Counter

import pytest

from client.store.parts import Part, next_part, visiting_rank


def split(patients: int) -> list[Part]:
    counts: Counter[Part] = Counter()
    parts = []
    for _ in range(patients):
        part = next_part(counts)
        counts[part] += 1
        parts.append(part)
    return parts


@pytest.mark.parametrize("patients", [3, 4, 5, 10, 100])
def test_with_three_patients_or_more_no_part_is_empty(patients: int) -> None:
    assert set(split(patients)) == set(Part)


@pytest.mark.parametrize(
    ("patients", "train", "validation", "test"),
    [(9, 5, 1, 3), (10, 6, 1, 3), (15, 9, 1, 5), (26, 16, 2, 8), (100, 60, 10, 30)],
)
def test_the_shares_are_met_as_nearly_as_whole_patients_allow(
    patients: int, train: int, validation: int, test: int
) -> None:
    counts = Counter(split(patients))
    assert abs(counts[Part.TRAIN] - train) <= 1
    assert abs(counts[Part.VALIDATION] - validation) <= 1
    assert abs(counts[Part.TEST] - test) <= 1


def test_later_patients_do_not_move_earlier_ones() -> None:
    assert split(50)[:20] == split(20)


def test_the_visiting_order_is_the_same_on_every_machine() -> None:
    identifiers = [f"P_{number:05}" for number in range(40)]
    # Fixed for good: another order would move patients between parts on other machines.
    assert sorted(identifiers, key=visiting_rank)[:3] == ["P_00021", "P_00012", "P_00038"]
