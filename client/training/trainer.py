"""One round of training at a site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from client.training.augmentation import augment
from client.training.dataset import FittedDataset
from client.training.device import convolution_dtype
from client.training.schedule import batches_of_indices, learning_rate, num_steps_per_round
from shared.errors import NonFiniteError, StoppedError
from shared.model.losses import MultitaskLoss
from shared.plan import Plan

MAX_GRADIENT_NORM = 1.0
ADAM_BETAS = (0.9, 0.999)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Progress of a round: step `number` of `num_steps`, from 1, and its loss."""

    number: int
    num_steps: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What a round of training came to.

    Attributes
    ----------
    loss
        Mean over the round's steps, with the tasks weighted alike.
    num_steps
        Optimiser steps taken.
    num_examples
        Examples trained on, the site's weight in the aggregate.
    """

    loss: float
    num_steps: int
    num_examples: int


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
) -> TrainingResult:
    """Train a model in place for one round, with an optimiser of its own.

    The same seed, weights and data give the same weights on the same machine's CPU.

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

    Raises
    ------
    NonFiniteError
        A loss or gradient is not finite; that step was not taken.
    StoppedError
        `should_stop` said so.
    """
    generator = torch.Generator().manual_seed(seed)
    loss_function = MultitaskLoss(plan.model.loss)
    _arrange(model.to(device), torch.channels_last).train()
    dtype = convolution_dtype(device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=plan.training.learning_rate,
        betas=ADAM_BETAS,
        weight_decay=plan.training.weight_decay,
        fused=True,
    )
    num_steps = num_steps_per_round(plan.training, len(dataset))
    total_loss = 0.0
    for step, indices in enumerate(batches_of_indices(plan.training, len(dataset), generator)):
        if should_stop():
            raise StoppedError(
                "Training was stopped.", "Start the site again to take part in the next round."
            )
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(plan, round_number=round_number, step=step, num_steps=num_steps)
        batch = dataset.windows(indices, generator).to(device)
        if plan.training.augment:
            batch = augment(batch, generator)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = model(batch.image_NCHW)
        loss = loss_function(logits, batch.targets())
        _insist_on_finite(loss.objective)
        optimizer.zero_grad(set_to_none=True)
        loss.objective.backward()
        correct(model)
        _insist_on_finite(clip_grad_norm_(model.parameters(), MAX_GRADIENT_NORM))
        optimizer.step()
        total_loss += loss.plain.item()
        on_step(Step(number=step + 1, num_steps=num_steps, loss=loss.plain.item()))
    _arrange(model, torch.contiguous_format)
    return TrainingResult(loss=total_loss / num_steps, num_steps=num_steps, num_examples=len(dataset))


def _arrange(model: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    """The same model, its convolutions' weights laid out in a memory format."""
    return model.to(memory_format=memory_format)  # type: ignore[call-overload,no-any-return]


def _insist_on_finite(value: torch.Tensor) -> None:
    if not bool(torch.isfinite(value)):
        raise NonFiniteError(
            "Training produced a loss or gradient that is not finite.",
            "Lower the plan's learning rate; the last good model is unchanged.",
        )
