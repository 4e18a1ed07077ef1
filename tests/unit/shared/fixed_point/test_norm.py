"""A bound on the norm of an update: an honest site is never beyond it, and nobody else passes far beyond."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import WeightsError
from shared.fixed_point.grid import BLOCK_VALUES, Grid
from shared.fixed_point.norm import NormBound
from shared.fixed_point.rounding import Rounding, no_residual
from shared.model.sent import norm_bound
from shared.plan import AggregationPlan

FOUR = Grid(bits=16, shapes={"kernel": (4,)}, exponents={"kernel": 0})
TWO_TENSORS = Grid(
    bits=16,
    shapes={"bias": (3,), "kernel": (2, BLOCK_VALUES)},
    exponents={"bias": -3, "kernel": -14},
)


def bound_on(grid: Grid, largest: float) -> NormBound:
    return NormBound(largest=largest, names=frozenset(grid.shapes))


def test_what_rounding_can_add_is_let_in_and_no_more() -> None:
    bound = bound_on(FOUR, 3.0)  # and four steps of 1: 3 + sqrt(4) = 5

    within, beyond = (
        np.array([3, -4, 0, 0], np.int16),
        np.array([3, -4, 1, 0], np.int16),
    )  # sqrt(25), sqrt(26)

    assert [block.tolist() for block in bound.checked(FOUR, [within])] == [[3, -4, 0, 0]]

    with pytest.raises(WeightsError, match="beyond the plan's bound"):
        list(bound.checked(FOUR, [beyond]))


@settings(deadline=None, max_examples=60)
@given(
    bits=st.sampled_from([8, 16]),
    seed=st.integers(0, 2**32 - 1),
    spread=st.floats(1e-6, 1e4),
    largest=st.floats(1e-6, 1e4),
    share=st.floats(0.001, 1.0),
    owed=st.floats(0, 10),
)
def test_whatever_an_honest_site_has_learnt_it_is_let_in(
    bits: int, seed: int, spread: float, largest: float, share: float, owed: float
) -> None:
    grid = Grid(bits=bits, shapes=TWO_TENSORS.shapes, exponents=TWO_TENSORS.exponents)
    random = np.random.default_rng(seed)
    update = {name: random.normal(0, spread, shape).astype(np.float32) for name, shape in grid.shapes.items()}
    residual = (
        {name: random.normal(0, owed, grid.size(name)).astype(np.float32) for name in grid.shapes}
        if bits == 8
        else None
    )
    bound = bound_on(grid, share * largest)
    rounding = Rounding(grid=grid, share=share, key=b"key", residual=residual, bound=bound)

    assert all(block.size for block in bound.checked(grid, rounding.blocks(update)))


def test_an_update_within_the_bound_is_rounded_as_it_would_be_without_one() -> None:
    update = {"kernel": np.array([0.5, -1.5, 2.0, 0.0], np.float32)}
    free = Rounding(grid=FOUR, share=1.0, key=b"key")
    bound = Rounding(grid=FOUR, share=1.0, key=b"key", bound=bound_on(FOUR, 2.6))  # the norm is 2.55

    assert [each.tolist() for each in bound.blocks(update)] == [each.tolist() for each in free.blocks(update)]
    assert bound.factor == 1.0


def test_a_longer_update_keeps_its_direction_and_has_the_length_of_the_bound() -> None:
    update = {"kernel": np.array([600.0, -800.0, 0.0, 0.0], np.float32)}
    rounding = Rounding(grid=FOUR, share=0.5, key=b"key", bound=bound_on(FOUR, 0.5 * 500.0))

    (sent,) = rounding.blocks(update)

    assert rounding.factor == 0.5
    assert sent.tolist() == [150, -200, 0, 0]  # whole numbers, which rounding leaves as they are


def test_what_the_bound_cuts_off_is_gone_and_only_rounding_is_owed() -> None:
    grid = Grid(bits=8, shapes=FOUR.shapes, exponents=FOUR.exponents)
    rounding = Rounding(
        grid=grid, share=1.0, key=b"key", residual=no_residual(grid), bound=bound_on(grid, 10.0)
    )

    list(rounding.blocks({"kernel": np.array([60.0, -80.0, 0.0, 0.0], np.float32)}))

    assert rounding.residual is not None
    assert rounding.residual["kernel"].tolist() == [0, 0, 0, 0]  # 6 and -8 are on the grid


def test_control_variates_are_no_part_of_the_norm() -> None:
    sent = ["control:kernel", "kernel"]
    bound = norm_bound(AggregationPlan(strategy="scaffold", max_update_norm=8.0), sent, share=0.25)

    assert bound == NormBound(largest=2.0, names=frozenset({"kernel"}))
    assert norm_bound(AggregationPlan(), sent, share=0.25) is None
