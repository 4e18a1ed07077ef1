"""Rounding and sums: bounded in error, the same in any order, with masks that vanish."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import shared.fixed_point.sums
from shared.errors import AggregationError, WeightsError
from shared.fixed_point.grid import BLOCK_VALUES, Bits, Grid, Integers
from shared.fixed_point.rounding import Rounding, no_residual, rounding_key
from shared.fixed_point.sums import MAX_SITES, IntegerSum, centred, ring_bits

KEY = rounding_key(7, run_id="run-1", round_number=1, attempt=1, site_id="site-a")


def grid_of(bits: Bits, size: int, exponent: int) -> Grid:
    return Grid(bits=bits, shapes={"kernel": (size,)}, exponents={"kernel": exponent})


def reading(*blocks: NDArray[np.integer]) -> Callable[[], Iterator[NDArray[np.integer]]]:
    """Reads an update of these blocks."""
    return lambda: iter(blocks)


def rounded(grid: Grid, values: NDArray[np.float64], *, share: float = 1.0, key: bytes = KEY) -> Integers:
    rounding = Rounding(grid=grid, share=share, key=key)
    return np.concatenate(list(rounding.blocks({"kernel": values})))


def values_of(random: np.random.Generator, grid: Grid, size: int) -> NDArray[np.float64]:
    """Values that are not clipped, of all magnitudes."""
    reach = (grid.largest - 1) * grid.step("kernel")
    return random.uniform(-reach, reach, size) * 10.0 ** -random.integers(0, 6, size)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([8, 16]),
    exponent=st.integers(-40, 20),
    num_sites=st.integers(1, 8),
)
def test_a_mean_is_never_farther_from_the_exact_one_than_the_stated_bound(
    seed: int, bits: Bits, exponent: int, num_sites: int
) -> None:
    random = np.random.default_rng(seed)
    grid = grid_of(bits, 50, exponent)
    shares = random.dirichlet(np.ones(num_sites + 1))[:num_sites]  # the last one has not answered
    updates = [values_of(random, grid, 50) for _ in shares]
    total = IntegerSum(grid)

    for number, (share, update) in enumerate(zip(shares, updates, strict=True)):
        total.add(reading(rounded(grid, update, share=share, key=bytes([number]))))
    answered = float(shares.sum())
    mean = total.of("kernel") * grid.step("kernel") / answered

    exact = sum(share * update for share, update in zip(shares, updates, strict=True)) / answered
    bound = grid.error_bound("kernel", num_sites=num_sites, answered=answered)
    assert np.abs(mean - exact).max() <= bound * (1 + 1e-9)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(5)), bits=st.sampled_from([8, 16]))
def test_a_sum_is_the_same_to_the_last_bit_in_any_order(seed: int, order: list[int], bits: Bits) -> None:
    random = np.random.default_rng(seed)
    grid = grid_of(bits, 30, -9)
    updates = [rounded(grid, values_of(random, grid, 30), key=bytes([site])) for site in range(5)]
    in_order, other = IntegerSum(grid), IntegerSum(grid)

    for place in range(5):
        in_order.add(reading(updates[place]))
        other.add(reading(updates[order[place]]))

    assert in_order.of("kernel").tobytes() == other.of("kernel").tobytes()


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num_sites=st.integers(2, 9), bits=st.sampled_from([8, 16]))
def test_masks_that_cancel_modulo_a_power_of_two_leave_no_trace_in_the_sum(
    seed: int, num_sites: int, bits: Bits
) -> None:
    random = np.random.default_rng(seed)
    grid = grid_of(bits, 30, -9)
    updates = [
        random.integers(-grid.largest, grid.largest, 30, np.int64, endpoint=True) for _ in range(num_sites)
    ]
    plain, masked = IntegerSum(grid), IntegerSum(grid)
    ring = ring_bits(bits, num_sites)
    in_fewer_bits = np.zeros(30, np.uint64)

    masks = [np.zeros(30, np.uint64) for _ in updates]
    for one, other in itertools.combinations(range(num_sites), 2):
        mask = random.integers(0, 2**64 - 1, 30, np.uint64, endpoint=True)
        masks[one] += mask
        masks[other] -= mask
    for update, mask in zip(updates, masks, strict=True):
        plain.add(reading(update))
        hidden = update.astype(np.uint64) + mask
        masked.add(reading(hidden.astype(np.int64)))
        in_fewer_bits = (in_fewer_bits + hidden % np.uint64(2**ring)) % np.uint64(2**ring)

    expected = plain.of("kernel")
    assert np.array_equal(masked.of("kernel"), expected)
    assert np.array_equal(centred(in_fewer_bits, ring), expected)


@pytest.mark.parametrize(("bits", "num_sites"), [(8, 1), (8, 2), (16, 2), (16, 64), (16, MAX_SITES)])
def test_a_ring_is_just_wide_enough_for_the_extreme_sums(bits: Bits, num_sites: int) -> None:
    extreme = num_sites * (2 ** (bits - 1) - 1)
    ring = ring_bits(bits, num_sites)
    sums = np.array([extreme, -extreme])

    assert centred(sums % 2**ring, ring).tolist() == [extreme, -extreme]
    assert centred(sums % 2 ** (ring - 1), ring - 1).tolist() != [extreme, -extreme]


def test_the_largest_allowed_number_of_sites_cannot_overflow_a_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    total = IntegerSum(grid_of(16, 1, 0))
    assert np.iinfo(total.of("kernel").dtype).max >= MAX_SITES * (2**15 - 1)
    monkeypatch.setattr(shared.fixed_point.sums, "MAX_SITES", 2)
    total.add(reading(np.array([1])))
    total.add(reading(np.array([2])))

    with pytest.raises(AggregationError):
        total.add(reading(np.array([4])))

    assert total.of("kernel").tolist() == [3]


def test_a_sum_takes_as_much_memory_as_its_tensors_in_float32() -> None:
    assert IntegerSum(grid_of(16, 1000, 0)).of("kernel").nbytes == 4 * 1000


def test_an_update_that_breaks_off_leaves_no_trace_in_the_sum() -> None:
    grid = grid_of(16, 2 * BLOCK_VALUES, 0)
    total = IntegerSum(grid)
    total.add(reading(*np.split(np.arange(2 * BLOCK_VALUES), 2)))

    def broken() -> Iterator[NDArray[np.integer]]:
        yield np.full(BLOCK_VALUES, 7)
        raise WeightsError("It ends too early.", "Send it again.")

    with pytest.raises(WeightsError):
        total.add(broken)

    assert total.num_added == 1
    assert total.of("kernel").tolist() == list(range(2 * BLOCK_VALUES))


def test_what_lies_on_the_grid_is_not_changed_and_what_lies_beyond_is_clipped_and_counted() -> None:
    grid = grid_of(8, 5, -2)
    rounding = Rounding(grid=grid, share=0.5, key=KEY)

    (integers,) = rounding.blocks({"kernel": np.array([0.0, 1.5, -2.0, 1000.0, -1000.0])})

    assert integers.tolist() == [0, 3, -4, 127, -127]
    assert integers.dtype == np.int8
    assert rounding.num_clipped == 2


def test_rounding_is_right_in_the_mean() -> None:
    size = 200_000
    grid = grid_of(16, size, 0)

    integers = rounded(grid, np.full(size, 2.25))

    assert set(np.unique(integers)) == {2, 3}
    # standard error 0.43 / sqrt(200,000) = 0.001
    assert integers.mean() == pytest.approx(2.25, abs=0.005)


def test_rounding_follows_from_its_occasion_alone() -> None:
    occasion = {"run_id": "run-1", "round_number": 1, "attempt": 1, "site_id": "site-a"}
    changes = [{"run_id": "run-2"}, {"round_number": 2}, {"attempt": 2}, {"site_id": "site-b"}]
    keys = {rounding_key(7, **{**occasion, **change}) for change in [{}, *changes]} | {
        rounding_key(8, **occasion)
    }
    grid = grid_of(16, 2 * BLOCK_VALUES, 0)
    values = np.full(grid.num_values, 0.5)

    assert len(keys) == 6
    assert np.array_equal(rounded(grid, values), rounded(grid, values))
    assert not np.array_equal(rounded(grid, values), rounded(grid, values, key=b"other"))
    first, second = np.split(rounded(grid, values), 2)
    assert not np.array_equal(first, second)


def test_the_random_stream_is_the_one_that_every_version_must_draw() -> None:
    integers = rounded(grid_of(16, 12, 0), np.full(12, 0.5), key=b"key")

    assert integers.tolist() == [0, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 0]


def test_error_feedback_makes_up_for_rounding_and_clipping_in_later_rounds() -> None:
    grid = grid_of(8, 3, 0)
    residual = no_residual(grid)
    update = np.array([0.3, -40.7, 300.0])  # the last is clipped in the first rounds
    sent = np.zeros(3)
    for round_number, factor in enumerate([1.0] * 10 + [0.0] * 25):
        rounding = Rounding(grid=grid, share=1.0, key=bytes([round_number]), residual=residual)
        (integers,) = rounding.blocks({"kernel": factor * update})
        sent += integers

    # after ten updates and time to catch up, what was sent differs from what was meant by one rounding
    assert np.abs(sent - 10 * update).max() <= 1.0
    assert np.allclose(sent + residual["kernel"], 10 * update, atol=1e-3)
