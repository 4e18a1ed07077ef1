"""Each strategy on numbers worked out by hand, and what all of them hold to."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from server.combining import changes_by_robust_mean, changes_by_sum, steps, weight_blocks
from server.strategies import STRATEGIES, strategy_of
from server.strategies.multi_krum import MultiKrum, squared_distances
from server.strategies.strategy import Array, ReadUpdate, RobustStrategy
from shared.errors import AggregationError, NonFiniteError
from shared.fixed_point.grid import BLOCK_VALUES, Grid
from shared.fixed_point.sums import IntegerSum
from shared.fixed_point.update_file import read_update, write_update
from shared.model.sent import control_of
from shared.plan import AggregationPlan

GRID = Grid(bits=16, shapes={"kernel": (2,)}, exponents={"kernel": -2})
"""Steps of 0.25."""


def written(grid: Grid, *tensors: Sequence[float]) -> ReadUpdate:
    """An update of whole steps, scaled by its share already, as a site sends it."""
    flat = np.concatenate(
        [np.asarray(tensor) / grid.step(name) for name, tensor in zip(grid.shapes, tensors, strict=True)]
    )
    blocks, start = [], 0
    for block in grid.blocks():
        blocks.append(flat[start : start + block.size].astype(np.int16))
        start += block.size
    file = io.BytesIO()
    write_update(file, grid, blocks, compress=True)
    return lambda: read_update(io.BytesIO(file.getvalue()), grid)


def step_of(
    plan: AggregationPlan,
    updates: Sequence[ReadUpdate],
    *,
    weights: Sequence[float],
    state: Mapping[str, Array] | None = None,
    answered: float = 1.0,
    grid: Grid = GRID,
) -> tuple[list[float], dict[str, list[float]]]:
    """One round of one tensor called `kernel`."""
    strategy = strategy_of(plan)
    if isinstance(strategy, RobustStrategy):
        changes = changes_by_robust_mean(strategy, updates, grid, share=answered / len(updates))
    else:
        total = IntegerSum(grid)
        for read in updates:
            total.add(read)
        changes = changes_by_sum(total, grid, answered=answered)
    old = np.asarray(weights, np.float64)
    remembered = strategy.first_state(old) if state is None else state
    ((block, _, step),) = steps(
        strategy,
        weight_blocks(grid),
        changes,
        read_weights=lambda _: old,
        read_state=lambda _: remembered,
    )
    assert (block.name, block.start, block.stop) == ("kernel", 0, 2)
    assert set(step.state) == set(strategy.state_sets)
    return step.weights.tolist(), {name: values.tolist() for name, values in step.state.items()}


def test_every_strategy_of_the_plan_is_in_the_one_dict() -> None:
    named = AggregationPlan.model_fields["strategy"].annotation.__args__

    assert tuple(STRATEGIES) == named
    assert {name for name in named if strategy_of(AggregationPlan(strategy=name)).needs_single_updates} == {
        "trimmed_mean",
        "median",
        "multi_krum",
    }


# -- by the sum


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "fedbn"])
def test_averaging_adds_the_weighted_mean_of_the_updates(name: str) -> None:
    # Shares 0.25 and 0.5 of updates [4, -2] and [1, 1]: what arrives is [1, -0.5] and [0.5, 0.5].
    updates = [written(GRID, [1.0, -0.5]), written(GRID, [0.5, 0.5])]

    weights, state = step_of(AggregationPlan(strategy=name), updates, weights=[10.0, 20.0], answered=0.75)

    # ([1, -0.5] + [0.5, 0.5]) / 0.75 = [2, 0]
    assert weights == [12.0, 20.0]
    assert state == {}


def test_fedadam_steps_by_the_momentum_over_the_root_of_the_second_one() -> None:
    plan = AggregationPlan(
        strategy="fedadam", server_learning_rate=0.5, momentum=0.5, second_momentum=0.75, adaptivity=1.0
    )
    updates = [written(GRID, [1.0, 0.0]), written(GRID, [1.0, -2.0])]
    before = {"momentum": np.array([2.0, 4.0]), "second_momentum": np.array([12.0, 4.0])}

    weights, state = step_of(plan, updates, weights=[10.0, 20.0], state=before)

    # u = [2, -2]; m = 0.5 [2, 4] + 0.5 u = [2, 1]; v = 0.75 [12, 4] + 0.25 [4, 4] = [10, 4]
    assert state == {"momentum": [2.0, 1.0], "second_momentum": [10.0, 4.0]}
    # w + 0.5 m / (sqrt(v) + 1)
    assert weights == pytest.approx([10 + 1 / (10**0.5 + 1), 20 + 0.5 / 3])


def test_fedyogi_moves_its_second_momentum_by_the_sign_of_the_difference() -> None:
    plan = AggregationPlan(
        strategy="fedyogi", server_learning_rate=0.5, momentum=0.0, second_momentum=0.75, adaptivity=1.0
    )
    updates = [written(GRID, [1.0, 0.0]), written(GRID, [1.0, -2.0])]
    before = {"momentum": np.zeros(2), "second_momentum": np.array([10.0, 3.0])}

    weights, state = step_of(plan, updates, weights=[10.0, 20.0], state=before)

    # u^2 = [4, 4]; v = [10 - 0.25 * 4, 3 + 0.25 * 4] = [9, 4]; m = u = [2, -2]
    assert state == {"momentum": [2.0, -2.0], "second_momentum": [9.0, 4.0]}
    # w + 0.5 m / (sqrt(v) + 1) = [10 + 1 / 4, 20 - 1 / 3]
    assert weights == pytest.approx([10.25, 20 - 1 / 3])


@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
def test_adaptive_strategies_start_with_the_least_second_momentum_of_the_paper(name: str) -> None:
    state = strategy_of(AggregationPlan(strategy=name, adaptivity=0.5)).first_state(np.array([3.0]))

    assert {key: values.tolist() for key, values in state.items()} == {
        "momentum": [0.0],
        "second_momentum": [0.25],
    }


def test_scaffold_moves_weights_by_the_mean_and_the_control_variate_by_the_sum() -> None:
    control = control_of("kernel")
    grid = Grid(bits=16, shapes={control: (2,), "kernel": (2,)}, exponents={control: -3, "kernel": -2})
    # Two of four equal sites answered: each sends a quarter of its change.
    updates = [written(grid, [0.5, 0.0], [1.0, 0.0]), written(grid, [0.25, -0.125], [0.0, 0.5])]

    weights, state = step_of(
        AggregationPlan(strategy="scaffold"),
        updates,
        weights=[10.0, 20.0],
        state={"control": np.array([1.0, 1.0])},
        answered=0.5,
        grid=grid,
    )

    # w + ([1, 0] + [0, 0.5]) / 0.5; c + [0.5, 0] + [0.25, -0.125], not divided: half the sites kept theirs
    assert weights == [12.0, 21.0]
    assert state == {"control": [1.75, 0.875]}


# -- by single updates


def test_the_trimmed_mean_leaves_out_the_extremes_of_each_value() -> None:
    plan = AggregationPlan(strategy="trimmed_mean", hostile_sites=1)
    answers = [[1.0, 5.0], [2.0, -100.0], [3.0, 6.0], [100.0, 7.0], [4.0, 9.0]]
    updates = [written(GRID, np.divide(answer, 4)) for answer in answers]  # a share of a quarter each

    weights, _ = step_of(plan, updates, weights=[10.0, 20.0], answered=1.25)

    # means of 2, 3, 4 and of 5, 6, 7
    assert weights == [13.0, 26.0]


@pytest.mark.parametrize(("answers", "middle"), [([1, 50, 3], 3.0), ([1, 50, 3, 4], 3.5)])
def test_the_median_is_the_middle_answer_or_the_mean_of_two(answers: list[float], middle: float) -> None:
    updates = [written(GRID, [answer, -answer]) for answer in answers]

    weights, _ = step_of(
        AggregationPlan(strategy="median"), updates, weights=[10.0, 20.0], answered=float(len(answers))
    )

    assert weights == [10.0 + middle, 20.0 - middle]


def test_multi_krum_averages_the_updates_that_lie_nearest_to_each_other() -> None:
    answers = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-90.0, 3.0]]
    updates = [written(GRID, answer) for answer in answers]
    plan = AggregationPlan(strategy="multi_krum", hostile_sites=1)

    # Squared distances within the square are 1, 1, 2: each corner scores 1 + 1, the fifth 8105 + 8184.
    assert MultiKrum(plan).choose(GRID, updates) == [0, 1, 2, 3]
    weights, _ = step_of(plan, updates, weights=[10.0, 20.0], answered=5.0)
    assert weights == [10.5, 20.5]


def test_distances_weigh_tensors_by_their_own_steps() -> None:
    grid = Grid(bits=16, shapes={"a": (1,), "b": (1,)}, exponents={"a": 0, "b": -10})
    # The last differs by one in `a`, the first by a thousand integers, which are less than one, in `b`.
    updates = [
        written(grid, [0.0], [1000 / 1024]),
        *[written(grid, [0.0], [0.0])] * 3,
        written(grid, [1.0], [0.0]),
    ]

    assert MultiKrum(AggregationPlan(strategy="multi_krum")).choose(grid, updates) == [0, 1, 2, 3]


def test_distances_are_exact_where_float64_would_lose_the_smaller_tensor() -> None:
    grid = Grid(bits=16, shapes={"a": (1,), "b": (1,)}, exponents={"a": 0, "b": -40})
    updates = [written(grid, [3.0], [0.0]), written(grid, [-3.0], [2.0**-40]), written(grid, [0.0], [0.0])]

    # 36 + 2**-80, 9 and 9 + 2**-80, in squares of 2**-40
    one, near, far = 9 << 80, (9 << 80) + 1, (36 << 80) + 1
    assert squared_distances(grid, updates) == [[0, far, one], [far, 0, near], [one, near, 0]]


@pytest.mark.parametrize("name", ["trimmed_mean", "median", "multi_krum"])
def test_tensors_of_several_blocks_come_out_whole_and_in_order(name: str) -> None:
    shapes = {"bias": (3,), "kernel": (2 * BLOCK_VALUES + 5,)}
    grid = Grid(bits=16, shapes=shapes, exponents=dict.fromkeys(shapes, 0))
    tensors = [np.arange(3.0), np.arange(grid.size("kernel")) % 1000.0]
    updates = [written(grid, *tensors)] * 5
    strategy = strategy_of(AggregationPlan(strategy=name))
    assert isinstance(strategy, RobustStrategy)

    changes = list(changes_by_robust_mean(strategy, updates, grid, share=0.2))

    assert len(changes) == 4
    values = np.concatenate([change.weights for change in changes])
    np.testing.assert_allclose(values, 5 * np.concatenate(tensors))


# -- what all hold to


def test_an_aggregate_of_a_single_site_is_never_made() -> None:
    alone = [written(GRID, [1.0, 1.0])]

    with pytest.raises(AggregationError):
        step_of(AggregationPlan(), alone, weights=[0.0, 0.0])


@pytest.mark.parametrize("name", ["trimmed_mean", "median", "multi_krum"])
def test_a_robust_strategy_refuses_fewer_updates_than_outvote_a_hostile_one(name: str) -> None:
    plan = AggregationPlan(strategy=name)
    updates = [written(GRID, [1.0, 1.0])] * (plan.least_answers - 1)

    with pytest.raises(AggregationError):
        step_of(plan, updates, weights=[0.0, 0.0])


def test_weights_beyond_float32_never_become_a_model() -> None:
    grid = Grid(bits=16, shapes={"kernel": (2,)}, exponents={"kernel": 60})
    updates = [written(grid, [2.0**74, 0.0])] * 2

    with pytest.raises(NonFiniteError):
        step_of(AggregationPlan(), updates, weights=[0.0, 0.0], answered=1e-30, grid=grid)
