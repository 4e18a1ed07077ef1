"""The grid of a round: steps that follow from weights and aggregates, the same on every machine."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.fixed_point.grid import BLOCK_VALUES, MAX_FALL, Grid, first_grid, next_grid

SHAPES = {"bias": (3,), "kernel": (2, 5)}
GRID = Grid(bits=16, shapes=SHAPES, exponents={"bias": -10, "kernel": -12})


def test_the_first_grid_lets_a_tensor_change_by_its_largest_weight_or_a_share_of_the_largest_of_all() -> None:
    weights = {"bias": 0.0, "kernel": 2.0}

    fine = first_grid(16, weights, SHAPES, largest_share=0.5)
    coarse = first_grid(8, weights, SHAPES, largest_share=0.5)

    # 0.5 * 2.0 / 32767 = 0.0000305: the next power of two above
    assert fine.exponents == {"bias": -14, "kernel": -14}
    # 0.5 * 0.1 * 2.0 / 127 = 0.00079 and 0.5 * 2.0 / 127 = 0.0079
    assert coarse.exponents == {"bias": -10, "kernel": -6}


def test_weights_that_are_all_zero_may_change_by_one() -> None:
    grid = first_grid(8, {"bias": 0.0, "kernel": 0.0}, SHAPES, largest_share=1.0)

    assert set(grid.exponents.values()) == {-6}  # 1 / 127 = 2**-6.99


@given(reach=st.floats(1e-6, 1e6), share=st.floats(1e-3, 1.0), bits=st.sampled_from([8, 16]))
def test_the_largest_integer_reaches_what_was_asked_for_and_less_than_twice_that(
    reach: float, share: float, bits: int
) -> None:
    grid = first_grid(bits, {"bias": reach, "kernel": reach}, SHAPES, largest_share=share)

    reached = grid.largest * grid.step("bias")
    assert reach * share <= reached * (1 + 1e-12)
    assert reached < 2 * reach * share * (1 + 1e-12)


def test_the_next_grid_has_the_stated_headroom_over_the_last_aggregate() -> None:
    grid = next_grid(GRID, {"bias": 8.0, "kernel": 1.0}, largest_share=0.5)

    # 4 * 8.0 * 0.5 / 32767 = 2**-10.999... and 4 * 1.0 * 0.5 / 32767 = 2**-13.99996
    assert grid.exponents == {"bias": -10, "kernel": -13}
    assert grid.largest * grid.step("bias") >= 16.0


def test_a_quiet_round_refines_a_step_by_a_quarter_at_most() -> None:
    grid = next_grid(GRID, {"bias": 0.0, "kernel": 1e-30}, largest_share=1.0)

    assert grid.exponents == {name: old - MAX_FALL for name, old in GRID.exponents.items()}


def test_steps_stay_within_what_a_float_can_say_however_long_a_tensor_is_quiet() -> None:
    grid = GRID
    for _ in range(100):
        grid = next_grid(grid, {"bias": 0.0, "kernel": 0.0}, largest_share=1.0)

    assert grid.step("bias") > 0.0
    assert math.isfinite(1.0 / grid.step("bias"))


@pytest.mark.parametrize(
    "other",
    [
        replace(GRID, bits=8),
        replace(GRID, exponents={"bias": -10, "kernel": -11}),
        replace(GRID, shapes={"bias": (3,), "kernel": (5, 2)}),
        replace(GRID, shapes={"bias": (3,), "kernek": (2, 5)}, exponents={"bias": -10, "kernek": -12}),
    ],
)
def test_every_part_of_a_grid_is_in_its_digest(other: Grid) -> None:
    assert other.digest != GRID.digest
    assert replace(GRID).digest == GRID.digest


def test_blocks_cover_every_value_once_and_in_order() -> None:
    shapes = {"a": (2, BLOCK_VALUES), "b": (), "c": (BLOCK_VALUES + 1,)}
    grid = Grid(bits=16, shapes=shapes, exponents=dict.fromkeys(shapes, 0))

    places = [(block.name, place) for block in grid.blocks() for place in range(block.start, block.stop)]

    assert places == [(name, place) for name in shapes for place in range(grid.size(name))]
    assert len(places) == grid.num_values
