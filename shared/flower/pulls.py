"""How soon Flower asks again for the parts of a message that is announced before its parts have arrived.

Whoever polls often can meet a message in that moment; stock Flower then waits a second, then two. A hook
internal to Flower 1.41; `tests/integration/test_flower_contract.py` holds it.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0


def pull_soon(module: ModuleType, name: str) -> None:
    """Let a module of Flower, in this process, pull parts by its function of this name with short pauses."""
    quick = partial(vars(module)[name], initial_backoff=FIRST_PAUSE_S, backoff_cap=LONGEST_PAUSE_S)
    vars(module)[name] = quick
