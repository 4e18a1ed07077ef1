import itertools
import math

import pytest
import torch

from client.training.schedule import batches_of_indices, learning_rate, training_seed
from client.training.step_counts import num_steps_per_round
from shared.plan import Plan, RoundsPlan, TrainingPlan

PLAN = Plan(
    name="schedule",
    rounds=RoundsPlan(count=10),
    training=TrainingPlan(local_epochs=2, batch_size=4, learning_rate=0.01, warmup_fraction=0.1),
)


def _rates(num_steps: int) -> list[float]:
    return [
        learning_rate(PLAN, round_number=round_number, step=step, num_steps=num_steps)
        for round_number, step in itertools.product(range(1, 11), range(num_steps))
    ]


def test_the_rate_warms_up_peaks_and_ends_near_zero():
    rates = _rates(num_steps=10)

    # 100 steps, the first 10 of them warm-up
    assert rates[0] == pytest.approx(0.01 * 0.5 / 10)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) == pytest.approx(0.01, rel=0.01)
    assert 0 < rates[-1] < 0.01 / 1000


def test_the_rate_halfway_down_the_cosine_is_half_the_peak():
    # share done 0.55 lies halfway between warm-up's end 0.1 and 1
    rate = learning_rate(PLAN, round_number=6, step=0, num_steps=1)

    assert rate == pytest.approx(0.005)


def test_sites_of_different_size_follow_the_same_curve():
    assert _rates(num_steps=4)[1::4] != _rates(num_steps=2)[::2]
    assert math.fsum(_rates(num_steps=4)) / 4 == pytest.approx(math.fsum(_rates(num_steps=2)) / 2, rel=0.01)


def test_a_plan_without_warm_up_starts_at_its_peak():
    plan = PLAN.model_copy(update={"training": TrainingPlan(learning_rate=0.01, warmup_fraction=0.0)})

    assert learning_rate(plan, round_number=1, step=0, num_steps=1000) == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize(("num_examples", "num_batches"), [(1, 1), (3, 1), (4, 1), (5, 2), (9, 3)])
def test_every_batch_is_full_and_every_example_is_seen_each_epoch(num_examples, num_batches):
    batches = list(batches_of_indices(PLAN.training, num_examples, torch.Generator().manual_seed(0)))

    assert len(batches) == 2 * num_batches == num_steps_per_round(PLAN.training, num_examples)
    assert all(len(batch) == 4 for batch in batches)
    for epoch in (batches[:num_batches], batches[num_batches:]):
        assert set(itertools.chain.from_iterable(epoch)) == set(range(num_examples))


def test_epochs_differ_in_order():
    batches = list(batches_of_indices(PLAN.training, 40, torch.Generator().manual_seed(0)))

    assert batches[:10] != batches[10:]


def test_seeds_differ_by_each_of_their_parts():
    names = {"run_id": "run", "round_number": 1, "attempt": 1, "site_id": "site"}
    variants = [
        training_seed(7, **names),
        training_seed(8, **names),
        *(
            training_seed(7, **{**names, **change})
            for change in ({"run_id": "other"}, {"round_number": 2}, {"attempt": 2}, {"site_id": "other"})
        ),
    ]

    assert len(set(variants)) == len(variants)
    assert all(0 <= seed < 2**63 for seed in variants)
    assert training_seed(7, **names) == variants[0]
