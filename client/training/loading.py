"""A round's batches, one after the other, on the device that is to compute them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

from client.training.dataset import Batch, FittedDataset
from client.training.schedule import batches_of_indices
from shared.plan import TrainingPlan

NUM_AHEAD = 2


def batches(dataset: FittedDataset, plan: TrainingPlan, seed: int, device: torch.device) -> Iterator[Batch]:
    """The batches of a round; for a GPU, a thread puts the next ones together while it computes.

    On a CPU a thread would only take time from the network, which uses every core.
    """
    assembled = _assembled(dataset, plan, seed)
    if device.type != "cuda":
        return assembled
    return (batch.to(device) for batch in ahead(batch.pinned() for batch in assembled))


def _assembled(dataset: FittedDataset, plan: TrainingPlan, seed: int) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(seed)
    for indices in batches_of_indices(plan, len(dataset), generator):
        yield dataset.windows(indices, generator)


def ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches in the same order, made by a thread before they are asked for."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        coming = deque(thread.submit(next, batches, None) for _ in range(NUM_AHEAD))
        while (batch := coming.popleft().result()) is not None:
            coming.append(thread.submit(next, batches, None))
            yield batch
