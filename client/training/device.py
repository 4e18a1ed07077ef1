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
