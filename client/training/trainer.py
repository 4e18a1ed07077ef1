"""One round of training at a site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from client.training.augmentation import augment
from client.training.dataset import FittedDataset
from client.training.device import arranged, reproducible
from client.training.loading import batches
from client.training.micro_batches import MicroBatches
from client.training.ranks import Alone, Ranks
from client.training.schedule import learning_rate
from client.training.step_counts import num_steps_per_round
from client.training.stepping import Stepper
from shared.errors import NonFiniteError, StoppedError
from shared.plan import Plan

MAX_LEFT_OUT = 8
"""Steps in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Progress of a round: step `number` of `num_steps`, from 1, and its loss; None if it was left out."""

    number: int
    num_steps: int
    loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a round of training came to.

    Attributes
    ----------
    loss
        Mean over the steps taken, with the tasks weighted alike.
    num_steps
        Optimiser steps taken.
    num_examples
        Examples trained on, the site's weight in the aggregate.
    num_left_out
        Steps not taken because their loss or gradients were not finite.
    """

    loss: float
    num_steps: int
    num_examples: int
    num_left_out: int = 0


def train(
    model: nn.Module,
    dataset: FittedDataset,
    plan: Plan,
    *,
    round_number: int,
    seed: int,
    device: torch.device,
    on_step: Callable[[Step], None] = lambda _step: None,
    should_stop: Callable[[], bool] = lambda: False,
    correct: Callable[[nn.Module], None] = lambda _model: None,
    micro_batches: MicroBatches | None = None,
    ranks: Ranks | None = None,
) -> TrainingResult:
    """Train a model in place for one round, with an optimiser of its own.

    The same seed, weights and data give the same weights on the same machine's CPU, and on its GPU if the
    plan asks for it.

    Parameters
    ----------
    model
        Holds the round's weights and is left holding the site's; after an error, discard it.
    dataset
        The site's training part.
    plan
        The run's plan.
    round_number
        From 1; places the round on the run's learning-rate curve.
    seed
        Orders and changes the examples; see `training_seed`.
    device
        Where to compute; the model is moved there.
    on_step
        Told of every step.
    should_stop
        Asked before every step.
    correct
        Changes the gradients of every step, before they are clipped; see `client.training.corrections`.
    micro_batches
        What earlier rounds have found of the device's memory; None begins anew.
    ranks
        The processes that share the steps; None is this one alone.

    Raises
    ------
    NonFiniteError
        Losses or gradients were not finite, in so many steps in a row that there is no hope.
    StoppedError
        `should_stop` said so.
    torch.OutOfMemoryError
        The device does not hold a single image.
    """
    arranged(model.to(device), torch.channels_last).train()
    stepper = Stepper(
        model,
        plan,
        device,
        correct=correct,
        micro_batches=micro_batches or MicroBatches(device),
        ranks=ranks or Alone(),
    )
    changes, flip = torch.Generator().manual_seed(seed + 1), plan.training.flip
    num_steps = num_steps_per_round(plan.training, len(dataset))
    losses: list[float | None] = []
    with reproducible(wanted=plan.training.deterministic):
        for number, batch in enumerate(batches(dataset, plan.training, seed, device)):
            leave_if(should_stop)
            rate = learning_rate(plan, round_number=round_number, step=number, num_steps=num_steps)
            shown = augment(batch, changes, flip=flip) if plan.training.augment else batch
            loss = stepper.step(shown, rate)
            losses.append(loss)
            on_step(Step(number=number + 1, num_steps=num_steps, loss=loss))
            _insist_on_hope(losses, num_steps)
    arranged(model, torch.contiguous_format)
    taken = [loss for loss in losses if loss is not None]
    return TrainingResult(
        loss=sum(taken) / len(taken),
        num_steps=len(taken),
        num_examples=len(dataset),
        num_left_out=len(losses) - len(taken),
    )


def leave_if(should_stop: Callable[[], bool]) -> None:
    """Return only if training may go on. Raises StoppedError."""
    if should_stop():
        raise StoppedError("Training was stopped.", "Start the site again to take part in the next round.")


def _insist_on_hope(losses: Sequence[float | None], num_steps: int) -> None:
    """A step may be left out, as some are until the scale of float16 is found; not one after the other."""
    latest = losses[-MAX_LEFT_OUT:]
    if len(latest) == min(MAX_LEFT_OUT, num_steps) and all(loss is None for loss in latest):
        raise NonFiniteError(
            "Training produced losses or gradients that are not finite, step after step.",
            "Lower the plan's learning rate; the last good model is unchanged.",
        )
