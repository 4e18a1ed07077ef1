"""Memory of an aggregation: its process needs at most three times the model more, with 8 sites or with 64."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from server.checkpoints import CheckpointFiles, read_grid, write_first_state
from server.strategies import strategy_of
from shared.fixed_point.update_file import write_update
from shared.model.tensor_file import TensorFile
from shared.plan import AggregationPlan

MODEL_BYTES = 8 * 1024**2
"""Half of it in one tensor, as in networks with one large layer."""

SHAPES = {"large": (1024, 1024), **{f"small-{number}": (512, 256) for number in range(8)}}
NUM_FILES = 2

AGGREGATE = """
import resource, sys
from pathlib import Path
from server.checkpoints import CheckpointFiles, read_grid, write_next
from server.combining import changes_by_robust_mean, changes_by_sum
from server.strategies import strategy_of
from server.strategies.strategy import RobustStrategy
from shared.fixed_point.sums import IntegerSum
from shared.fixed_point.update_file import read_update
from shared.plan import AggregationPlan

def peak_bytes():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

folder, name, num_sites, num_files = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
shapes = {"large": (1024, 1024), **{f"small-{number}": (512, 256) for number in range(8)}}
strategy = strategy_of(AggregationPlan(strategy=name))
old = CheckpointFiles(weights=folder / "weights", state=folder / "state")
new = CheckpointFiles(weights=folder / "new-weights", state=folder / "new-state")
grid = read_grid(old, shapes, bits=16)
base = peak_bytes()
paths = [folder / f"update-{number % num_files}" for number in range(num_sites)]
reads = [lambda path=path: read_update(path.open("rb"), grid) for path in paths]
if isinstance(strategy, RobustStrategy):
    changes = changes_by_robust_mean(strategy, reads, grid, share=1 / num_sites)
else:
    total = IntegerSum(grid)
    for read in reads:
        total.add(read)
    changes = changes_by_sum(total, grid, answered=1.0)
write_next(old, new, strategy, grid, changes, largest_share=1 / num_sites)
print(peak_bytes() - base)
"""


@pytest.mark.parametrize("num_sites", [8, 64])
@pytest.mark.parametrize("name", ["fedavg", "fedadam", "trimmed_mean", "multi_krum"])
def test_an_aggregation_needs_at_most_three_times_the_model_with_any_number_of_sites(
    name: str, num_sites: int, tmp_path: Path
) -> None:
    strategy = strategy_of(AggregationPlan(strategy=name))
    files = CheckpointFiles(weights=tmp_path / "weights", state=tmp_path / "state")
    random = np.random.default_rng(0)
    with files.weights.open("wb") as file:
        weights = TensorFile.create(file, SHAPES)
        for tensor, shape in SHAPES.items():
            weights.write(tensor, 0, random.normal(size=shape).reshape(-1))
    assert files.weights.stat().st_size > MODEL_BYTES
    write_first_state(files, strategy, SHAPES, bits=16, largest_share=1 / num_sites)
    grid = read_grid(files, SHAPES, bits=16)
    for number in range(NUM_FILES):
        with (tmp_path / f"update-{number}").open("wb") as file:
            blocks = (random.normal(0, 900, block.size).astype(np.int16) for block in grid.blocks())
            write_update(file, grid, blocks, compress=True)

    done = subprocess.run(
        [sys.executable, "-c", AGGREGATE, str(tmp_path), name, str(num_sites), str(NUM_FILES)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 3 * MODEL_BYTES
