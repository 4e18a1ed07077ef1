"""Batches that a thread makes ahead are those that would be made otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from client.training.dataset import Batch
from client.training.loading import NUM_AHEAD, ahead


def _batches(made: list[int], count: int) -> Iterator[Batch]:
    for number in range(count):
        made.append(number)
        yield Batch(
            image_NCHW=torch.full((1, 1, 2, 2), float(number)),
            labels_NHW=torch.zeros(1, 2, 2),
            band_N=torch.zeros(1),
        )


@pytest.mark.parametrize("count", [0, 1, NUM_AHEAD, 7])
def test_all_come_in_their_order(count: int) -> None:
    numbers = [batch.image_NCHW[0, 0, 0, 0].item() for batch in ahead(_batches([], count))]

    assert numbers == list(range(count))


def test_who_takes_no_more_leaves_no_thread_and_few_batches_behind() -> None:
    made: list[int] = []
    coming = ahead(_batches(made, 100))

    next(coming)
    coming.close()

    assert len(made) <= 2 + NUM_AHEAD


def test_what_goes_wrong_in_the_thread_is_told_to_who_takes_the_batches() -> None:
    def broken() -> Iterator[Batch]:
        yield from _batches([], 1)
        raise ValueError("no batch")

    coming = ahead(broken())

    next(coming)
    with pytest.raises(ValueError, match="no batch"):
        next(coming)
