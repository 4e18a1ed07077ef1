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
