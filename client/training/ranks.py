"""The processes that share a site's training steps, one on each GPU: rank 0 trains, the others help it.

Rank 0 has the data, the loss and the optimiser. For each step it gives every rank the weights and a part of
the images, takes the loss of what all of them say, gives back its gradients by what each has said, and adds
up the gradients by the weights. So a step is the same however many processes share it, but for rounding.
torch's DistributedDataParallel takes the mean of the ranks' own losses, which is another step where a loss is
no mean over images, as a Dice over the batch is not.

Axes: N images, C channels, H rows, W columns.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, distributed, multiprocessing, nn

from client.training.device import arranged, limit_memory, reproducible
from client.training.micro_batches import IMAGE_AXES, forward, join, tensorwise
from shared.model import Logits, blank_model
from shared.plan import ModelPlan

END_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How every rank computes a batch.

    Attributes
    ----------
    size
        Images at once.
    dtype
        Of convolutions.
    """

    plan: ModelPlan
    size: int
    dtype: torch.dtype
    deterministic: bool


class Ranks(Protocol):
    """What a training step asks of the processes that share it, in the order in which it asks."""

    def hand_out(self, model: nn.Module, image_NCHW: Tensor, manner: Manner) -> Tensor:
        """Give out a batch; what is left for this process."""

    def any(self, out_of_memory: bool) -> bool:
        """Whether this process or another is out of memory: then all leave the batch."""

    def whole(self, logits: Logits) -> Logits:
        """What all processes say, from what this one says."""

    def add_gradients(self, model: nn.Module) -> bool:
        """Add what the others' images contribute; False if one of them is out of memory."""


class Alone:
    """One process."""

    def hand_out(self, model: nn.Module, image_NCHW: Tensor, manner: Manner) -> Tensor:
        """All images."""
        return image_NCHW

    def any(self, out_of_memory: bool) -> bool:
        """Whether this process is."""
        return out_of_memory

    def whole(self, logits: Logits) -> Logits:
        """They are whole."""
        return logits

    def add_gradients(self, model: nn.Module) -> bool:
        """There is nothing to add."""
        return True


class Leader:
    """Rank 0 of torch's default process group, with a pipe to each of the others."""

    def __init__(self, device: torch.device, pipes: Sequence[Connection]) -> None:
        self._device = device
        self._pipes = pipes
        self._shapes: list[tuple[int, ...]] = []
        self._said: list[Logits] = []

    def hand_out(self, model: nn.Module, image_NCHW: Tensor, manner: Manner) -> Tensor:
        """As many images to each rank, or one more; the batch has one for each at least."""
        own_NCHW, *others_NCHW = torch.tensor_split(image_NCHW, len(self._pipes) + 1)
        self._shapes = [tuple(part_NCHW.shape) for part_NCHW in others_NCHW]
        for pipe, shape in zip(self._pipes, self._shapes, strict=True):
            pipe.send((manner, shape))
        distributed.broadcast(_flat(weight.detach() for weight in model.parameters()), src=0)
        for rank, part_NCHW in enumerate(others_NCHW, start=1):
            distributed.send(part_NCHW.contiguous(), dst=rank)
        return own_NCHW

    def any(self, out_of_memory: bool) -> bool:
        """Whether any rank is."""
        return _any(out_of_memory, self._device)

    def whole(self, logits: Logits) -> Logits:
        """What each rank has said of its images, in their order."""

        def receive(own: Sequence[Tensor]) -> Tensor:
            if own[0].dim() != IMAGE_AXES:
                return own[0]
            told_NCHW = own[0].new_empty((shape[0], *own[0].shape[1:]))
            distributed.recv(told_NCHW, src=rank)
            return told_NCHW.requires_grad_()

        self._said = []
        for rank, shape in enumerate(self._shapes, start=1):  # noqa: B007 - `receive` is called at once
            self._said.append(tensorwise(receive, logits))
        return join([logits, *self._said])

    def add_gradients(self, model: nn.Module) -> bool:
        """Give back the gradients by what was said, and add up those by the weights."""
        for rank, said in enumerate(self._said, start=1):
            for told_NCHW in _of_images(said):
                gradient = torch.zeros_like(told_NCHW) if told_NCHW.grad is None else told_NCHW.grad
                distributed.send(gradient.contiguous(), dst=rank)
        self._said = []
        return not self.any(False) and _add_up(model)


@contextmanager
def ranks_on(devices: Sequence[torch.device], most_gib: float | None) -> Iterator[Ranks]:
    """Training by one process on each device, this one on the first; the others end with the block.

    Parameters
    ----------
    most_gib
        Memory that each process may take of its GPU.
    """
    if len(devices) == 1:
        yield Alone()
        return
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        meeting = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "ranks"
        pipes = []
        for rank, device in enumerate(devices[1:], start=1):
            ours, theirs = context.Pipe()
            arguments = (rank, len(devices), meeting, device, most_gib, theirs)
            process = context.Process(target=follow, args=arguments, daemon=True)
            process.start()
            theirs.close()
            stack.callback(_end, process)
            stack.callback(ours.close)
            pipes.append(ours)
        _meet(0, len(devices), meeting, devices[0])
        stack.callback(distributed.destroy_process_group)
        yield Leader(devices[0], pipes)


def follow(
    rank: int,
    num_ranks: int,
    meeting: Path,
    device: torch.device,
    most_gib: float | None,
    pipe: Connection,
) -> None:
    """What the process of another rank does: compute what it is given until the pipe is closed."""
    _end_with_parent()
    limit_memory(device, most_gib)
    _meet(rank, num_ranks, meeting, device)
    models: dict[ModelPlan, nn.Module] = {}
    while True:
        try:
            manner, shape = pipe.recv()
        except EOFError:
            return
        if manner.plan not in models:
            model = blank_model(manner.plan).to_empty(device=device).train()
            models = {manner.plan: arranged(model, torch.channels_last)}
        with reproducible(wanted=manner.deterministic):
            _compute(models[manner.plan], torch.empty(shape, device=device), manner)


def _compute(model: nn.Module, image_NCHW: Tensor, manner: Manner) -> None:
    """One batch's part: the same steps as the leader's `Stepper`, without loss and optimiser."""
    weights = [weight.detach() for weight in model.parameters()]
    flat = _flat(torch.empty_like(weight) for weight in weights)
    distributed.broadcast(flat, src=0)
    _spread(flat, weights)
    distributed.recv(image_NCHW, src=0)
    model.zero_grad(set_to_none=True)
    said: list[Tensor] | None = None
    try:
        said = _of_images(forward(model, image_NCHW, size=manner.size, dtype=manner.dtype))
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    device = image_NCHW.device
    if _any(said is None, device):
        return
    assert said is not None
    for said_NCHW in said:
        distributed.send(said_NCHW.detach().contiguous(), dst=0)
    if _any(False, device):
        return
    gradients = [torch.empty_like(said_NCHW).contiguous() for said_NCHW in said]
    for gradient_NCHW in gradients:
        distributed.recv(gradient_NCHW, src=0)
    done = False
    try:
        torch.autograd.backward(said, gradients)
        done = True
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    if not _any(not done, device):
        _add_up(model)


def _of_images(logits: Logits) -> list[Tensor]:
    found: list[Tensor] = []

    def note(tensors: Sequence[Tensor]) -> Tensor:
        if tensors[0].dim() == IMAGE_AXES:
            found.append(tensors[0])
        return tensors[0]

    tensorwise(note, logits)
    return found


def _any(flag: bool, device: torch.device) -> bool:
    count = torch.tensor(float(flag), device=device)
    distributed.all_reduce(count)
    return count.item() > 0


def _add_up(model: nn.Module) -> bool:
    """Add all ranks' gradients at rank 0; a weight that the images of one did not reach counts nothing."""
    for weight in model.parameters():
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    flat = _flat(iter(gradients))
    distributed.reduce(flat, dst=0)
    _spread(flat, gradients)
    return True


def _flat(tensors: Iterator[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _spread(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    pieces = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, piece in zip(tensors, pieces, strict=True):
        tensor.copy_(piece.view_as(tensor))


def _meet(rank: int, num_ranks: int, meeting: Path, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=num_ranks,
    )


def _end_with_parent() -> None:
    """A process that waits for a rank that is gone would wait for long."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


def _end(process: BaseProcess) -> None:
    process.join(END_S)
    if process.is_alive():
        process.kill()
        process.join()
