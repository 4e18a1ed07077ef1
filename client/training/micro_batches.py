"""How many images of a batch are computed at once: as many as memory holds, and the step is the same.

A plan says how large a batch is, and all sites train with that. Where memory does not hold a batch, its
images go through the network a few at a time, and a second time when their gradients are wanted (Chen et al.,
"Training deep nets with sublinear memory cost", 2016): a third more arithmetic. The loss is always taken over
the whole batch, so that a Dice over the batch means the same whatever the computer.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from client.training.device import memory_for_activations
from shared.model import Logits, blank_model
from shared.plan import ModelPlan

IMAGE_AXES = 4

OVERHEAD = 1.5
"""Of a step's memory over its activations: their gradients, the loss, what libraries set aside."""


class MicroBatches:
    """Remembers, for as long as it lives, how many images of a plan's input a device holds at once."""

    def __init__(self, device: torch.device) -> None:
        self._memory_bytes = memory_for_activations(device)
        self._most: dict[ModelPlan, int] = {}

    def size(self, plan: ModelPlan, num_images: int) -> int:
        """Images to compute at once: all unless it is known, or to be expected, that they do not fit."""
        if plan not in self._most and self._memory_bytes is not None:
            self._most[plan] = max(1, int(self._memory_bytes / (OVERHEAD * activation_bytes(plan))))
        return min(num_images, self._most.get(plan, num_images))

    def shrink(self, plan: ModelPlan, size: int) -> bool:
        """After so many images did not fit: go on with half; False where it was a single one."""
        self._most[plan] = math.ceil(size / 2)
        return size > 1


def activation_bytes(plan: ModelPlan) -> int:
    """What backpropagation keeps of one image in float32; nothing is computed to find out."""
    network = blank_model(plan).train()
    storages: dict[int, UntypedStorage] = {}

    def note(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage._cdata] = storage  # kept, so that no later one has its address
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        network(torch.empty((1, 1, plan.input_height_px, plan.input_width_px), device="meta"))
    return sum(storage.nbytes() for storage in storages.values())


def forward(network: nn.Module, image_NCHW: Tensor, *, size: int, dtype: torch.dtype) -> Logits:
    """The logits of a batch, computed so many images at once, with convolutions in a type of number."""
    with torch.autocast(image_NCHW.device.type, dtype, enabled=dtype != torch.float32):
        if image_NCHW.shape[0] <= size:
            return network(image_NCHW)  # type: ignore[no-any-return]
        parts_NCHW = torch.split(image_NCHW, size)
        return join([checkpoint(network, part_NCHW, use_reentrant=False) for part_NCHW in parts_NCHW])


def join(parts: Sequence[Logits]) -> Logits:
    """The logits of a batch from those of its parts; what is not of images is the first part's."""
    joined: Logits = tensorwise(
        lambda tensors: torch.cat(list(tensors)) if tensors[0].dim() == IMAGE_AXES else tensors[0], *parts
    )
    return joined


def tensorwise(function: Callable[[Sequence[Tensor]], Tensor], *several: Any) -> Any:
    """Logits whose every tensor is made from the tensors in its place in several."""
    first = several[0]
    if isinstance(first, dict):
        return {key: tensorwise(function, *(one[key] for one in several)) for key in first}
    if isinstance(first, list):
        return [tensorwise(function, *places) for places in zip(*several, strict=True)]
    return function(several)
