"""Where a site computes, in which precision, and with how much memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from client.settings import DeviceChoice
from shared.errors import ConfigError

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""What a container may use (cgroup v2): bytes, or "max"."""

SHARE_OF_MEMORY = 0.5
"""Of a computer's memory for the activations of a training step; the rest is for data, weights and others."""


def choose_device(choice: DeviceChoice) -> torch.device:
    """The device that a choice means here; `auto` is CUDA where there is one.

    Raises
    ------
    ConfigError
        CUDA was asked for and there is none.
    """
    available = torch.cuda.is_available()
    if choice == "cuda" and not available:
        raise ConfigError(
            "This machine has no usable CUDA device.",
            "Set the device to 'auto' or 'cpu', or repair the driver.",
        )
    return torch.device("cuda" if available and choice != "cpu" else "cpu")


def training_devices(choice: DeviceChoice, num_gpus: int) -> tuple[torch.device, ...]:
    """The devices that share a training step.

    Raises
    ------
    ConfigError
        There are not so many.
    """
    device = choose_device(choice)
    if num_gpus == 1:
        return (device,)
    available = torch.cuda.device_count() if device.type == "cuda" else 0
    if num_gpus > available:
        raise ConfigError(
            f"`gpus` in site.toml asks for {num_gpus} GPUs, and training here can have {available}.",
            "Set it to what there is, or repair the driver.",
        )
    return tuple(torch.device("cuda", number) for number in range(num_gpus))


def limit_memory(device: torch.device, most_gib: float | None) -> None:
    """Let this process have at most so much of a GPU's memory; all of it without a number.

    Asking for more then raises `torch.OutOfMemoryError`.
    """
    if device.type != "cuda":
        return
    total_gib = torch.cuda.get_device_properties(device).total_memory / 2**30
    share = 1.0 if most_gib is None else min(1.0, most_gib / total_gib)
    torch.cuda.set_per_process_memory_fraction(share, device)


def memory_for_activations(device: torch.device) -> int | None:
    """Bytes that a training step may hold on to; None where asking for too much raises `OutOfMemoryError`.

    A CPU has no such error: whoever asks for too much there is killed by the kernel.
    """
    if device.type == "cuda":
        return None
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if CONTAINER_LIMIT.exists() and (limit := CONTAINER_LIMIT.read_text().strip()) != "max":
        memory_bytes = min(memory_bytes, int(limit))
    return int(SHARE_OF_MEMORY * memory_bytes)


def convolution_dtype(device: torch.device) -> torch.dtype:
    """The type in which a device convolves fastest without harm to training.

    bfloat16 where the hardware multiplies it, as GPUs since 2020 and CPUs with AVX-512 BF16 or AMX do;
    float16 on older GPUs, which needs a loss that is scaled; else float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    features = torch.cpu.get_capabilities()
    quick = features.get("avx512_bf16", False) or features.get("amx_bf16", False)
    return torch.bfloat16 if quick else torch.float32


def arranged(model: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    """The same model, its convolutions' weights laid out in a memory format."""
    return model.to(memory_format=memory_format)  # type: ignore[call-overload,no-any-return]


@contextmanager
def reproducible(*, wanted: bool) -> Iterator[None]:
    """Compute what is in it so that the same input gives the same bytes on the same machine, if so wanted.

    A CPU does so anyway, as long as it works with as many threads. A GPU then does without its fastest
    algorithms, and cuBLAS needs the variable that `client.flower.executor` sets before it begins.
    """
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.benchmark = not wanted
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
