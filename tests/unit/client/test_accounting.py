"""What noise bounds: figures that are known from elsewhere."""

from __future__ import annotations

import math
import time
import tracemalloc

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from client.accounting import TIGHT_UP_TO, Steps, epsilon, rounded_up, steps_of_a_round
from shared.plan import PatientNoisePlan, Plan, PrivacyPlan, RoundsPlan, TrainingPlan

NOISE = PatientNoisePlan(multiplier=1.1)
PLAN = Plan(
    name="accounted",
    metrics=(),
    rounds=RoundsPlan(count=10),
    training=TrainingPlan(local_epochs=3, batch_size=8),
    privacy=PrivacyPlan(patient_noise=NOISE),
)


def exact_gaussian_epsilon(multiplier: float, delta: float) -> float:
    """Of one Gaussian mechanism, by the exact formula of Balle and Wang (ICML 2018, theorem 8)."""

    def excess(value: float) -> float:
        first = norm.cdf(0.5 / multiplier - value * multiplier)
        return float(first - math.exp(value) * norm.cdf(-0.5 / multiplier - value * multiplier) - delta)

    return float(brentq(excess, 1e-9, 100))


@pytest.mark.parametrize(("multiplier", "count"), [(1.0, 1), (4.0, 16), (10.0, 400)])
def test_steps_with_all_patients_come_to_the_exact_gaussian_mechanism(multiplier: float, count: int) -> None:
    """So many steps are one with a noise that is the square root of so many times smaller."""
    found = epsilon([Steps(chance=1.0, multiplier=multiplier, count=count)], 1e-5)

    assert found == pytest.approx(exact_gaussian_epsilon(multiplier / math.sqrt(count), 1e-5), rel=2e-3)


def test_the_known_example_of_the_sampled_mechanism_is_met() -> None:
    """60,000 examples, batches of 256, noise 1.1, 60 epochs: 3.0 by moments (TensorFlow Privacy)."""
    steps = Steps(chance=256 / 60_000, multiplier=1.1, count=60 * 60_000 // 256)

    assert 2.2 < epsilon([steps], 1e-5) < 3.0


@pytest.mark.parametrize(("multiplier", "chance", "count"), [(0.1, 1.0, 100_000), (0.3, 0.5, 1_000_000)])
def test_exhaustion_a_plan_of_hardly_any_noise_is_reckoned_at_once_and_in_little_memory(
    multiplier: float, chance: float, count: int
) -> None:
    """Its distribution would take gigabytes at every site that the plan is offered to."""
    tracemalloc.start()
    began = time.process_time()

    found = epsilon([Steps(chance=chance, multiplier=multiplier, count=count)], 1e-5)

    took_s, (_, peak_bytes) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found > TIGHT_UP_TO
    assert took_s < 10
    assert peak_bytes < 200e6


def test_rounds_of_different_runs_are_composed() -> None:
    one = Steps(chance=0.1, multiplier=2.0, count=50)
    other = Steps(chance=0.2, multiplier=1.0, count=10)

    together = epsilon([one, other, one], 1e-5)

    assert epsilon([one], 1e-5) < epsilon([one, one], 1e-5) < together
    assert together < 2 * epsilon([one], 1e-5) + epsilon([other], 1e-5)
    assert together == epsilon([one, one, other], 1e-5)
    assert epsilon([], 1e-5) == 0


def test_a_round_draws_each_patient_so_that_a_step_has_the_batch_size_on_average() -> None:
    assert steps_of_a_round(PLAN, NOISE, 80) == Steps(chance=0.1, multiplier=1.1, count=30)
    assert steps_of_a_round(PLAN, NOISE, 5) == Steps(chance=1.0, multiplier=1.1, count=3)


@pytest.mark.parametrize(("value", "told"), [(1.231, 1.24), (1.24, 1.24), (0.0, 0.0), (math.inf, math.inf)])
def test_what_is_told_is_never_less_than_what_is_spent(value: float, told: float) -> None:
    assert rounded_up(value) == told
