"""Memory of the process that carries rounds: base plus at most three times the model, however many sites."""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from server.aggregation import Aggregation, first_checkpoint
from server.strategies import STRATEGIES
from server.weighting import SiteWeights
from shared.fixed_point.update_file import write_update
from shared.plan import AggregationPlan, ModelPlan, Plan, RoundsPlan, StrategyName
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore

log = logging.getLogger(__name__)

SMALL = 0.55
"""Width of a network of 12 MB; that of width 1 has 39."""

CARRY = """
import sys
from pathlib import Path
from server.aggregation import Aggregation, first_checkpoint
from server.rounds import run_rounds  # all that such a process has loaded
from server.weighting import SiteWeights
from shared.plan import Plan
from shared.records import Contribution, Occasion, Phase
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore

def peak_bytes():
    # Not `ru_maxrss`: a process inherits it from the one that started it.
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
    return 1024 * int(line.split()[1])

folder, num_sites, digest, size_bytes = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
plan, blobs = Plan.from_toml((folder / "plan.toml").read_bytes()), BlobStore(folder)
sites = [f"site-{number}" for number in range(num_sites)]
base_bytes = peak_bytes()
base = first_checkpoint(plan, blobs)
weights = SiteWeights(weights=dict.fromkeys(sites, 1), total=num_sites)
aggregation = Aggregation(plan=plan, base=base, weights=weights, blobs=blobs)
for site in sites:
    contribution = Contribution.model_construct(
        occasion=Occasion.model_construct(site_id=site, phase=Phase.TRAIN),
        update=BlobRef(digest=digest, size_bytes=size_bytes),
    )
    aggregation.take(contribution)
aggregation.checkpoint()
print(base.weights.size_bytes, peak_bytes() - base_bytes)
"""


@pytest.fixture(scope="module")
def of_network(tmp_path_factory: pytest.TempPathFactory):
    """Makes a folder of blobs with an update for the first round of a plan, whichever site sends it."""

    @functools.cache
    def make(strategy: StrategyName, width: float) -> tuple[Path, BlobRef]:
        aggregation = AggregationPlan(strategy=strategy)
        plan = Plan(
            name="memory",
            rounds=RoundsPlan(count=1, quorum=aggregation.least_answers),
            model=ModelPlan(size="base", width=width, input_height_px=64, input_width_px=64),
            aggregation=aggregation,
        )
        folder = tmp_path_factory.mktemp("server")
        blobs = BlobStore(folder)
        (folder / "plan.toml").write_text(plan.to_toml())
        weights = SiteWeights(weights={"site-0": 1}, total=1)
        grid = Aggregation(plan=plan, base=first_checkpoint(plan, blobs), weights=weights, blobs=blobs).grid
        random = np.random.default_rng(0)
        with blobs.draft() as draft:
            with draft.open("wb") as file:
                blocks = (random.integers(-900, 900, block.size, np.int16) for block in grid.blocks())
                write_update(file, grid, blocks, compress=False)
            return folder, blobs.put_draft(draft)

    return make


def needs(folder: Path, update: BlobRef, num_sites: int) -> tuple[int, int]:
    """Bytes of the model, and by how many bytes the process's peak grew in a round."""
    done = subprocess.run(
        [sys.executable, "-c", CARRY, str(folder), str(num_sites), update.digest, str(update.size_bytes)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    model_bytes, needed_bytes = map(int, done.stdout.split())
    log.info("a model of %.1f MB needed %.1f MB", model_bytes / 1e6, needed_bytes / 1e6)
    return model_bytes, needed_bytes


@pytest.mark.parametrize("num_sites", [2, 8, 64])
def test_a_round_needs_at_most_three_times_the_model_with_2_8_or_64_sites(num_sites: int, of_network) -> None:
    model_bytes, needed_bytes = needs(*of_network("fedavg", 1.0), num_sites)

    assert model_bytes > 27_000_000
    assert needed_bytes <= 3 * model_bytes


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fedadam", "scaffold", "trimmed_mean", "median", "multi_krum"])
def test_a_round_under_another_strategy_needs_at_most_three_times_the_model(
    strategy: StrategyName, of_network
) -> None:
    model_bytes, needed_bytes = needs(*of_network(strategy, SMALL), num_sites=5)

    assert model_bytes > 7_500_000
    assert needed_bytes <= 3 * model_bytes


@pytest.mark.long
@pytest.mark.parametrize("num_sites", [2, 8, 64])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_round_under_any_strategy_needs_at_most_three_times_the_model_with_any_number_of_sites(
    strategy: StrategyName, num_sites: int, of_network
) -> None:
    least = AggregationPlan(strategy=strategy).least_answers

    model_bytes, needed_bytes = needs(*of_network(strategy, SMALL), max(num_sites, least))

    assert needed_bytes <= 3 * model_bytes
