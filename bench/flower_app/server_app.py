"""Stock Flower's side that averages: FedAvg without evaluation, over tensors of a size."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.superlink.grid import http_grid

from shared.flower.pulls import pull_soon

POLL_S = 0.1

app = ServerApp()


class _QuickClock:
    """The `time` of Flower's grid, with pauses of at most `POLL_S`."""

    time = staticmethod(time.time)

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(min(seconds, POLL_S))


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Carry out the rounds; the time before the first and after each goes into a file."""
    settings = context.run_config
    num_tensors, num_values = int(settings["tensors"]), int(settings["values"])
    random = np.random.default_rng(1)
    arrays = [random.random(num_values // num_tensors, np.float32) for _ in range(num_tensors)]
    stamps = Path(str(settings["folder"])) / "stamps"
    if settings["quick"]:
        vars(http_grid)["time"] = _QuickClock
        pull_soon(http_grid, "pull_objects")

    def stamp(_round: int, _arrays: ArrayRecord) -> MetricRecord | None:
        with stamps.open("a") as file:
            file.write(f"{time.time()}\n")
        return None

    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=2, min_available_nodes=2)
    strategy.start(
        grid, ArrayRecord(arrays), num_rounds=int(settings["num-server-rounds"]), evaluate_fn=stamp
    )
