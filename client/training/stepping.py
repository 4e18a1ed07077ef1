"""Steps of the optimiser: a batch's gradients in whatever memory there is, and a step if they are finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, get_total_norm

from client.training.dataset import Batch
from client.training.device import convolution_dtype
from client.training.micro_batches import MicroBatches, forward
from client.training.ranks import Manner, Ranks
from shared.model import Logits
from shared.model.losses import Loss, MultitaskLoss
from shared.plan import Plan, TrainingPlan

MAX_GRADIENT_NORM = 1.0
ADAM_BETAS = (0.9, 0.999)

Computed = TypeVar("Computed")


def optimizer_of(learnt: Sequence[nn.Parameter], plan: TrainingPlan) -> torch.optim.Optimizer:
    """The optimiser of one round at one site."""
    return torch.optim.AdamW(
        learnt, lr=plan.learning_rate, betas=ADAM_BETAS, weight_decay=plan.weight_decay, fused=True
    )


class Stepper:
    """Takes the steps of one round, with an optimiser of its own.

    Parameters
    ----------
    model
        On the device already, in training mode; what of it wants no gradient stays as it is.
    correct
        Changes the gradients of every step that is taken, before they are clipped.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        device: torch.device,
        *,
        correct: Callable[[nn.Module], None],
        micro_batches: MicroBatches,
        ranks: Ranks,
    ) -> None:
        self._model = model
        self._learnt = [weight for weight in model.parameters() if weight.requires_grad]
        self._plan = plan
        self._device = device
        self._correct = correct
        self._micro_batches = micro_batches
        self._ranks = ranks
        self._loss = MultitaskLoss(plan.model.loss)
        self._dtype = convolution_dtype(device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._dtype == torch.float16)
        self._optimizer = optimizer_of(self._learnt, plan.training)

    def step(self, batch: Batch, learning_rate: float) -> float | None:
        """Take a step; None if its loss or a gradient is not finite: then it is not taken.

        Returns
        -------
        float | None
            The batch's loss before the step, with the tasks weighted alike.

        Raises
        ------
        torch.OutOfMemoryError
            The device does not hold a single image.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        loss = self._backward(batch)
        self._scaler.unscale_(self._optimizer)
        gradients = [weight.grad for weight in self._learnt if weight.grad is not None]
        finite = bool(torch.isfinite(loss.objective) & torch.isfinite(get_total_norm(gradients)))
        if finite:  # what corrects gradients may remember them
            self._correct(self._model)
            finite = bool(torch.isfinite(clip_grad_norm_(self._learnt, MAX_GRADIENT_NORM)))
        if finite:
            self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss.plain.item() if finite else None

    def _backward(self, batch: Batch) -> Loss:
        """The batch's loss, its gradients in the model."""
        num_images = batch.image_NCHW.shape[0]
        while True:
            size = self._micro_batches.size(self._plan.model, num_images)
            loss = self._try_backward(batch, size)
            if loss is not None:
                return loss
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            if not self._micro_batches.shrink(self._plan.model, size):
                raise torch.OutOfMemoryError("Not even one image fits.")

    def _try_backward(self, batch: Batch, size: int) -> Loss | None:
        """The same with so many images at once; None if they do not fit, here or at another rank."""
        self._optimizer.zero_grad(set_to_none=True)
        manner = Manner(
            plan=self._plan.model,
            size=size,
            dtype=self._dtype,
            deterministic=self._plan.training.deterministic,
        )
        own_NCHW = self._ranks.hand_out(self._model, batch.image_NCHW, manner)
        logits = self._if_it_fits(lambda: forward(self._model, own_NCHW, size=size, dtype=self._dtype))
        if logits is None:
            return None
        whole = self._ranks.whole(logits)
        loss = self._if_it_fits(lambda: self._learn(whole, batch))
        return loss if loss is not None and self._ranks.add_gradients(self._model) else None

    def _if_it_fits(self, compute: Callable[[], Computed]) -> Computed | None:
        try:
            computed = compute()
        except torch.OutOfMemoryError:
            computed = None
        return None if self._ranks.any(computed is None) else computed

    def _learn(self, logits: Logits, batch: Batch) -> Loss:
        loss: Loss = self._loss(logits, batch.targets())
        torch.autograd.backward(self._scaler.scale(loss.objective))
        return loss
