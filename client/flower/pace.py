"""How often Flower's processes at a site say that they are alive, and are taken for dead after twice as long.

A hook internal to Flower 1.41; `tests/integration/test_flower_contract.py` holds it.
"""

from __future__ import annotations

from types import ModuleType

HEARTBEAT_S = 10


def quicken(*modules: ModuleType) -> None:
    """Let these modules of Flower, in this process, send or expect a heartbeat every `HEARTBEAT_S`."""
    for module in modules:
        vars(module)["HEARTBEAT_DEFAULT_INTERVAL"] = HEARTBEAT_S
