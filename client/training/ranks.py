"""The processes that share a site's training steps, and what they tell each other.

Each holds the same weights and the same batch, and computes a part of its images; the loss is that of the
whole batch, and the gradients are added. So a step is the same however many processes share it, but for
rounding. torch's own DistributedDataParallel takes the mean of each process's loss, which is another step
where a loss is no mean over images, as a Dice over the batch is not.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, distributed, nn

from client.training.micro_batches import join, tensorwise
from shared.model import Logits


class Ranks(Protocol):
    """What a training step asks of the processes that share it."""

    def part(self, image_NCHW: Tensor) -> Tensor:
        """The images that this process computes."""

    def whole(self, logits: Logits) -> Logits:
        """The logits of all images; gradients flow to this process's own."""

    def add_gradients(self, model: nn.Module) -> None:
        """Make every process's gradients the sum of all."""

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""


class Alone:
    """One process."""

    def part(self, image_NCHW: Tensor) -> Tensor:
        """All images."""
        return image_NCHW

    def whole(self, logits: Logits) -> Logits:
        """They are whole."""
        return logits

    def add_gradients(self, model: nn.Module) -> None:
        """They are the sum."""

    def any(self, flag: bool) -> bool:
        """Whether this process says so."""
        return flag


class Together:
    """The processes of torch's default group, on one device each; a batch is a multiple of their number."""

    def __init__(self, device: torch.device) -> None:
        self._rank, self._size = distributed.get_rank(), distributed.get_world_size()
        self._device = device

    def part(self, image_NCHW: Tensor) -> Tensor:
        """As many images as each of the others has."""
        return image_NCHW.chunk(self._size)[self._rank]

    def whole(self, logits: Logits) -> Logits:
        """Every process's logits, in the order of the images."""
        return join([tensorwise(partial(self._of, rank), logits) for rank in range(self._size)])

    def _of(self, rank: int, own: Sequence[Tensor]) -> Tensor:
        told = own[0].detach().contiguous() if rank == self._rank else torch.empty_like(own[0]).contiguous()
        distributed.broadcast(told, src=rank)
        return own[0] if rank == self._rank else told

    def add_gradients(self, model: nn.Module) -> None:
        """One exchange for all; a weight that this process's images did not reach adds nothing."""
        weights = list(model.parameters())
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        sizes = [gradient.numel() for gradient in gradients]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        for gradient, added in zip(gradients, torch.split(flat, sizes), strict=True):
            gradient.copy_(added.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Whether any process says so, known to all."""
        count = torch.tensor(float(flag), device=self._device)
        distributed.all_reduce(count)
        return bool(count.item() > 0)
