"""Which examples a step sees, and how fast it learns: both follow from the plan and one seed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import torch

from shared.plan import Plan, TrainingPlan


def training_seed(plan_seed: int, *, run_id: str, round_number: int, attempt: int, site_id: str) -> int:
    """A seed of its own for each site, round and attempt: 63 bits of a SHA-256."""
    text = "\x1f".join(["training", str(plan_seed), run_id, str(round_number), str(attempt), site_id])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def learning_rate(plan: Plan, *, round_number: int, step: int, num_steps: int) -> float:
    """The rate of one step: linear warm-up, then half a cosine to zero over the whole run.

    It depends on the share of the run that is done, so that sites with more steps per round follow the
    same curve.

    Parameters
    ----------
    plan
        Gives the number of rounds, the peak and the share of warm-up.
    round_number
        From 1.
    step
        Step within the round, from 0.
    num_steps
        Steps of this site per round.
    """
    done = (round_number - 1 + (step + 0.5) / num_steps) / plan.rounds.count
    warmup = plan.training.warmup_fraction
    if done < warmup:
        return plan.training.learning_rate * done / warmup
    return plan.training.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (done - warmup) / (1.0 - warmup)))


def batches_of_indices(
    plan: TrainingPlan, num_examples: int, generator: torch.Generator
) -> Iterator[list[int]]:
    """Positions of each batch of a round: every epoch in a new order, every batch full.

    The last batch of an epoch is filled from the epoch's beginning, so that no step rests on fewer images.
    """
    for _ in range(plan.local_epochs):
        order: list[int] = torch.randperm(num_examples, generator=generator).tolist()
        for start in range(0, num_examples, plan.batch_size):
            yield [order[place % num_examples] for place in range(start, start + plan.batch_size)]
