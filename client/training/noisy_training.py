"""One round of training at a site in which the part of each patient is bounded, and hidden in noise.

Every patient is drawn for a step by a chance of its own (Poisson sampling), for which the figures of the
accountant hold (`client.accounting`). Who was drawn and the noise come from chance that nobody can compute
again: were it from the seeds of the plan, the coordinator could take the noise off. So the same round gives
another update when it is computed again; what was computed is on record, and is what is sent again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from numpy.random import Generator
from torch import nn

from client.training.augmentation import augment
from client.training.dataset import FittedDataset
from client.training.device import arranged
from client.training.micro_batches import MicroBatches
from client.training.noisy_stepping import NoisyStepper
from client.training.schedule import learning_rate
from client.training.step_counts import chance_of_a_patient, num_steps_per_round
from client.training.trainer import Step, TrainingResult, leave_if
from shared.chance import fresh_chance
from shared.plan import PatientNoisePlan, Plan

_SEED_BITS = 63


def train_with_noise(
    model: nn.Module,
    dataset: FittedDataset,
    patients: Sequence[Sequence[int]],
    plan: Plan,
    noise: PatientNoisePlan,
    *,
    round_number: int,
    device: torch.device,
    on_step: Callable[[Step], None],
    should_stop: Callable[[], bool],
    correct: Callable[[nn.Module], None],
    micro_batches: MicroBatches,
    chance: Generator | None = None,
) -> TrainingResult:
    """Train a model in place for one round, as `client.training.trainer.train` does without noise.

    Parameters
    ----------
    patients
        Positions in the data set of each patient's examples; a step draws of patients, not of examples.
    chance
        Drawn afresh unless a test gives it.

    Returns
    -------
    TrainingResult
        Its loss is for this site's own log: noise does not cover it.

    Raises
    ------
    StoppedError
        `should_stop` said so.
    torch.OutOfMemoryError
        The device does not hold a single image.
    """
    chance = chance or fresh_chance()
    arranged(model.to(device), torch.channels_last).train()
    stepper = NoisyStepper(
        model, plan, noise, device, correct=correct, micro_batches=micro_batches, chance=chance
    )
    changes = torch.Generator().manual_seed(int(chance.integers(2**_SEED_BITS)))
    num_steps = num_steps_per_round(plan.training, len(patients))
    drawn_by = chance_of_a_patient(plan.training, len(patients))
    losses: list[float] = []
    for number in range(num_steps):
        leave_if(should_stop)
        rate = learning_rate(plan, round_number=round_number, step=number, num_steps=num_steps)
        is_drawn = chance.random(len(patients)) < drawn_by
        drawn = [one for one, is_in in zip(patients, is_drawn, strict=True) if is_in]
        shown = (dataset.windows(indices, changes).to(device) for indices in drawn)
        if plan.training.augment:
            shown = (augment(batch, changes, flip=plan.training.flip) for batch in shown)
        taken = stepper.step(shown, rate)
        losses += taken
        mean = sum(taken) / len(taken) if taken else math.nan
        on_step(Step(number=number + 1, num_steps=num_steps, loss=mean if taken else None))
    arranged(model, torch.contiguous_format)
    return TrainingResult(
        loss=sum(losses) / len(losses) if losses else 0.0,
        num_steps=num_steps,
        num_examples=len(dataset),
    )
