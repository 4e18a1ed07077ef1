"""No two evaluations that are told differ in a few images."""

from __future__ import annotations

import numpy as np
import pytest

from client.evaluation.steadiness import images_to_tell_of

FIVE = frozenset("abcde")
TEN = frozenset("abcdefghij")


def test_the_first_time_all_images_are_told_of() -> None:
    assert images_to_tell_of(TEN, [], smallest=5) == TEN


def test_the_same_images_are_told_of_again() -> None:
    assert images_to_tell_of(TEN, [TEN], smallest=5) == TEN


def test_a_few_new_images_wait_and_the_others_are_told_of_as_before() -> None:
    assert images_to_tell_of(TEN | {"k", "l", "m", "n"}, [TEN], smallest=5) == TEN


def test_new_images_that_are_enough_come_in_together() -> None:
    more = TEN | frozenset("klmno")

    assert images_to_tell_of(more, [TEN], smallest=5) == more


def test_after_a_few_were_taken_out_nothing_is_told_until_enough_is_new() -> None:
    fewer = TEN - {"a", "b"}

    assert images_to_tell_of(fewer, [TEN], smallest=5) is None
    assert images_to_tell_of(fewer | {"k", "l"}, [TEN], smallest=5) is None
    enough = fewer | frozenset("klm")
    assert images_to_tell_of(enough, [TEN], smallest=5) == enough


def test_an_image_with_another_mask_is_one_taken_out_and_one_new() -> None:
    assert images_to_tell_of((TEN - {"a"}) | {"a with a newer mask"}, [TEN], smallest=5) is None


def test_a_set_that_was_told_before_the_last_one_is_told_of_again_if_it_is_whole() -> None:
    # What came in between was taken out again.
    more = TEN | frozenset("klmno")

    assert images_to_tell_of(TEN, [TEN, more], smallest=5) == TEN
    assert images_to_tell_of(TEN | {"k"}, [TEN, more], smallest=5) == TEN


def test_fewer_images_than_may_be_told_of_are_not_told_of() -> None:
    assert images_to_tell_of(FIVE - {"a"}, [], smallest=5) is None


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_in_and_goes_out_no_two_sets_differ_in_a_few(seed: int) -> None:
    random, smallest = np.random.default_rng(seed), 5
    here: set[str] = {f"first {number}" for number in range(12)}
    told: list[frozenset[str]] = []
    for step in range(60):
        here |= {f"{step} {number}" for number in range(int(random.integers(0, 4)))}
        gone = sorted(here)[: int(random.integers(0, 2))] if random.random() < 0.3 else []
        here -= set(gone)
        chosen = images_to_tell_of(frozenset(here), told, smallest=smallest)
        if chosen is not None and chosen not in told:
            told.append(chosen)

    assert len(told) > 2
    for place, one in enumerate(told):
        assert len(one) >= smallest
        for other in told[:place]:
            assert len(one ^ other) >= smallest
