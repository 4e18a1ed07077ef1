"""Times what a process does in its databases: found by Python at its start if this folder is on its path.

Every `WRITE_S` a process that has used SQLAlchemy writes `STORE_CLOCK/PID`: seconds spent in statements and
commits, and how many there were. Without that variable nothing happens.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

WRITE_S = 0.2
MODULE = "sqlalchemy.engine.default"
TIMED = ("do_execute", "do_executemany", "do_commit")


class _Clock:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self.seconds, self.calls = 0.0, 0
        threading.Thread(target=self._write_on, name="store-clock", daemon=True).start()

    def timed(self, method: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*arguments, **named)
            finally:
                with self._lock:
                    self.seconds += time.perf_counter() - began
                    self.calls += 1

        return call

    def _write_on(self) -> None:
        while True:
            time.sleep(WRITE_S)
            self._file.write_text(f"{self.seconds} {self.calls}\n")


class _Finder(importlib.abc.MetaPathFinder):
    """Times SQLAlchemy's dialects once they are imported."""

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def load_and_time(module: ModuleType) -> None:
            load(module)
            clock = _Clock(Path(os.environ["STORE_CLOCK"]) / str(os.getpid()))
            for method in TIMED:
                setattr(module.DefaultDialect, method, clock.timed(getattr(module.DefaultDialect, method)))

        vars(spec.loader)["exec_module"] = load_and_time
        return spec


if "STORE_CLOCK" in os.environ:
    sys.meta_path.insert(0, _Finder())
