"""Memory of the process that carries rounds: base plus at most three times the model, however many sites."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from server.aggregation import Aggregation, first_checkpoint
from server.weighting import SiteWeights
from shared.fixed_point.update_file import write_update
from shared.plan import ModelPlan, Plan, RoundsPlan
from shared.transfer.blob_ref import BlobRef
from shared.transfer.blob_store import BlobStore

PLAN = Plan(
    name="memory",
    rounds=RoundsPlan(count=1),
    model=ModelPlan(size="base", input_height_px=64, input_width_px=64),
)

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
def update(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BlobRef]:
    """A folder of blobs with an update for the first round of the plan, whichever site sends it."""
    folder = tmp_path_factory.mktemp("server")
    blobs = BlobStore(folder)
    (folder / "plan.toml").write_text(PLAN.to_toml())
    weights = SiteWeights(weights={"site-0": 1}, total=1)
    grid = Aggregation(plan=PLAN, base=first_checkpoint(PLAN, blobs), weights=weights, blobs=blobs).grid
    random = np.random.default_rng(0)
    with blobs.draft() as draft:
        with draft.open("wb") as file:
            blocks = (random.integers(-900, 900, block.size, np.int16) for block in grid.blocks())
            write_update(file, grid, blocks, compress=False)
        return folder, blobs.put_draft(draft)


@pytest.mark.parametrize("num_sites", [2, 8, 64])
def test_a_round_needs_at_most_three_times_the_model_with_2_8_or_64_sites(
    num_sites: int, update: tuple[Path, BlobRef]
) -> None:
    folder, blob = update

    done = subprocess.run(
        [sys.executable, "-c", CARRY, str(folder), str(num_sites), blob.digest, str(blob.size_bytes)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )

    assert done.returncode == 0, done.stderr
    model_bytes, needed_bytes = map(int, done.stdout.split())
    assert model_bytes > 27_000_000
    assert needed_bytes <= 3 * model_bytes
