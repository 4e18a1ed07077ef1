"""Environment under which every Flower process of ours runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from shared.persons.token import VARIABLE as PERSON_TOKEN


def flower_environment(folder: Path) -> Mapping[str, str]:
    """This process's environment with Flower kept in `folder` and its calls home switched off.

    The token of the person who started this process is theirs alone and goes no further.
    """
    return {
        **{name: value for name, value in os.environ.items() if name != PERSON_TOKEN},
        "FLWR_HOME": str(folder),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PYTHONSAFEPATH": "1",
    }
