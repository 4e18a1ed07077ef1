"""Environment under which every Flower process of ours runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def flower_environment(folder: Path) -> Mapping[str, str]:
    """This process's environment with Flower kept in `folder` and its calls home switched off."""
    return {
        **os.environ,
        "FLWR_HOME": str(folder),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PYTHONSAFEPATH": "1",
    }
