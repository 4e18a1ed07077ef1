"""Steps of the optimiser in which the part of each patient is bounded, and hidden in noise.

DP-SGD (Abadi et al., CCS 2016) with the patient as the unit: each patient of a step is one example, whose
gradient is that of the loss over her images alone. It is shortened to the plan's length, so that nobody moves
the sum by more; normal noise is added to the sum, and it is divided by the number of patients that a step
has on average, which depends on nobody. What comes after that, corrections and Adam, sees the noisy gradient
alone. A patient whose gradient is not finite counts as one who was not drawn.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from client.training.dataset import Batch
from client.training.device import convolution_dtype
from client.training.micro_batches import MicroBatches, forward
from client.training.stepping import optimizer_of
from shared.model.losses import MultitaskLoss
from shared.plan import PatientNoisePlan, Plan


class NoisyStepper:
    """Takes the steps of one round, with an optimiser of its own.

    Parameters
    ----------
    model
        On the device already, in training mode, without a layer that mixes images of a batch.
    correct
        Changes the noisy gradients of every step.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: Plan,
        noise: PatientNoisePlan,
        device: torch.device,
        *,
        correct: Callable[[nn.Module], None],
        micro_batches: MicroBatches,
        chance: Generator,
    ) -> None:
        self._model = model
        self._learnt = [weight for weight in model.parameters() if weight.requires_grad]
        self._plan = plan
        self._noise = noise
        self._correct = correct
        self._micro_batches = micro_batches
        self._chance = chance
        self._loss = MultitaskLoss(plan.model.loss)
        quick = convolution_dtype(device)
        # float16 would need a loss that is scaled, by what all patients have in common.
        self._dtype = torch.float32 if quick == torch.float16 else quick
        self._optimizer = optimizer_of(self._learnt, plan.training)

    def step(self, patients: Iterable[Batch], learning_rate: float) -> list[float]:
        """Take a step; also without any patient, for that nobody was drawn is not to be seen.

        Parameters
        ----------
        patients
            The images of each patient that was drawn.

        Returns
        -------
        list[float]
            Each patient's loss before the step, with the tasks weighted alike; those that are finite. Noise
            does not cover them.

        Raises
        ------
        torch.OutOfMemoryError
            The device does not hold a single image.
        """
        losses, sums = [], [torch.zeros_like(weight) for weight in self._learnt]
        for batch in patients:
            loss, gradients = self._gradients(batch)
            norm = float(get_total_norm(gradients))
            if not torch.isfinite(torch.tensor([loss, norm])).all():
                continue
            losses.append(loss)
            share = min(1.0, self._noise.gradient_norm / norm) if norm else 0.0
            for total, gradient in zip(sums, gradients, strict=True):
                total.add_(gradient, alpha=share)
        for weight, total in zip(self._learnt, sums, strict=True):
            weight.grad = total.add_(self._drawn_like(total)).div_(self._plan.training.batch_size)
        self._correct(self._model)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.step()
        return losses

    def _gradients(self, batch: Batch) -> tuple[float, list[Tensor]]:
        """One patient's loss and its gradients by what is learnt."""
        num_images = batch.image_NCHW.shape[0]
        while True:
            size = self._micro_batches.size(self._plan.model, num_images)
            try:
                logits = forward(self._model, batch.image_NCHW, size=size, dtype=self._dtype)
                loss = self._loss(logits, batch.targets())
                found = torch.autograd.grad(loss.objective, self._learnt, allow_unused=True)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                if not self._micro_batches.shrink(self._plan.model, size):
                    raise
                continue
            gradients = [
                torch.zeros_like(weight) if gradient is None else gradient.to(weight.dtype)
                for weight, gradient in zip(self._learnt, found, strict=True)
            ]
            return float(loss.plain), gradients

    def _drawn_like(self, total: Tensor) -> Tensor:
        spread = self._noise.multiplier * self._noise.gradient_norm
        drawn = self._chance.normal(0.0, spread, total.numel())
        return torch.from_numpy(drawn).to(total.dtype).reshape(total.shape).to(total.device)
