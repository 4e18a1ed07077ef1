"""How much of a GPU training may have."""

from __future__ import annotations

import pytest
import torch

from client.training.device import limit_memory, training_devices
from shared.errors import ConfigError

GIB = 2**30


def test_a_limit_means_nothing_on_a_cpu() -> None:
    limit_memory(torch.device("cpu"), 0.001)

    assert torch.zeros(GIB // 64, dtype=torch.uint8).sum() == 0


def test_more_gpus_than_there_are_are_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    assert [device.index for device in training_devices("auto", 2)] == [0, 1]
    with pytest.raises(ConfigError, match="asks for 4 GPUs, and training here can have 2"):
        training_devices("auto", 4)
    with pytest.raises(ConfigError, match="can have 0"):
        training_devices("cpu", 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_limit_ends_what_asks_for_more_and_without_one_it_is_let_go() -> None:
    cuda = torch.device("cuda")
    limit_memory(cuda, 0.5)
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(GIB, dtype=torch.uint8, device=cuda)

    limit_memory(cuda, None)

    assert torch.empty(GIB, dtype=torch.uint8, device=cuda).numel() == GIB
