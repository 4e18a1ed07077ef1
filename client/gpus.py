"""The GPUs of this machine, as NVIDIA's driver tells of them, without loading torch."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

TIMEOUT_S = 5.0
_QUERY = [
    "nvidia-smi",
    "--query-gpu=name,memory.used,memory.total,utilization.gpu",
    "--format=csv,noheader,nounits",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU; what the driver does not tell is None."""

    name: str
    used_mib: int | None
    total_mib: int | None
    busy_percent: int | None


def list_gpus() -> list[Gpu]:
    """Every GPU; none where there is no driver."""
    try:
        told = subprocess.run(_QUERY, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [
        [field.strip() for field in line.rsplit(",", 3)] for line in told.splitlines() if line.count(",") >= 3
    ]
    return [
        Gpu(name=name, used_mib=_number(used), total_mib=_number(total), busy_percent=_number(busy))
        for name, used, total, busy in rows
    ]


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
