"""Where a site computes."""

from __future__ import annotations

import torch

from client.settings import DeviceChoice
from shared.errors import ConfigError


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


def limit_memory(device: torch.device, most_gib: float | None) -> None:
    """Let this process have at most so much of a GPU's memory; all of it without a number.

    Asking for more then raises `torch.OutOfMemoryError`.
    """
    if device.type != "cuda":
        return
    total_gib = torch.cuda.get_device_properties(device).total_memory / 2**30
    share = 1.0 if most_gib is None else min(1.0, most_gib / total_gib)
    torch.cuda.set_per_process_memory_fraction(share, device)


def convolution_dtype(device: torch.device) -> torch.dtype:
    """The type in which a device convolves fastest without harm to training.

    bfloat16 where the hardware multiplies it, as GPUs since 2020 and CPUs with AVX-512 BF16 or AMX do; else
    float32.
    """
    if device.type == "cuda":
        quick = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        features = torch.cpu.get_capabilities()
        quick = features.get("avx512_bf16", False) or features.get("amx_bf16", False)
    return torch.bfloat16 if quick else torch.float32
