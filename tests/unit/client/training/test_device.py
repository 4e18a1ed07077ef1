"""How much of a GPU training may have."""

from __future__ import annotations

import pytest
import torch

from client.training.device import limit_memory

GIB = 2**30


def test_a_limit_means_nothing_on_a_cpu() -> None:
    limit_memory(torch.device("cpu"), 0.001)

    assert torch.zeros(GIB // 64, dtype=torch.uint8).sum() == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_limit_ends_what_asks_for_more_and_without_one_it_is_let_go() -> None:
    cuda = torch.device("cuda")
    limit_memory(cuda, 0.5)
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(GIB, dtype=torch.uint8, device=cuda)

    limit_memory(cuda, None)

    assert torch.empty(GIB, dtype=torch.uint8, device=cuda).numel() == GIB
